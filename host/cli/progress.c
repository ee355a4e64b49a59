/* What is seen of a run while it goes on. On a terminal a bar on the last line of stderr, ten times
 * a second at most; elsewhere a plain line every few seconds. The log gets a line per epoch. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_EVERY 0.1  /* seconds */
#define LINE_EVERY 5.0 /* seconds */

/* Set by the handler: signals have no other way to say something. */
static volatile sig_atomic_t signal_caught;

static void handle_signals(void (*handler)(int))
{
    static const int numbers[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < 2; i++) {
        struct sigaction action;
        if (sigaction(numbers[i], NULL, &action) || action.sa_handler == SIG_IGN)
            continue;
        memset(&action, 0, sizeof action);
        action.sa_handler = handler;
        sigemptyset(&action.sa_mask);
        action.sa_flags = SA_RESTART;
        sigaction(numbers[i], &action, NULL);
    }
}

static void on_signal(int number)
{
    signal_caught = number;
    handle_signals(SIG_DFL); /* the next one of either kind kills */
}

int progress_signal(void)
{
    return signal_caught;
}

/* An older log is emptied with the first step: options that are refused leave it alone. */
static int open_log(struct progress *progress, const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (file >= 0)
        progress->made = path;
    progress->log = file >= 0 ? fdopen(file, "a") : fopen(path, "ae");
    return progress->log
               ? EXIT_DONE
               : failure("--log: '%s' cannot be opened for writing: %s", path, strerror(errno));
}

int progress_start(struct progress *progress, const char *log_path, bool quiet)
{
    memset(progress, 0, sizeof *progress);
    progress->quiet = quiet;
    progress->bar = !quiet && isatty(STDERR_FILENO);
    if (log_path && open_log(progress, log_path) != EXIT_DONE)
        return EXIT_FAILED;
    handle_signals(on_signal);
    return EXIT_DONE;
}

/* ---------------------------------------------------------------- the log */

/* The first error is the one to tell; other calls change errno until then. */
static void note_log_error(struct progress *progress)
{
    if (!progress->log_error)
        progress->log_error = errno ? errno : EIO;
}

static void log_epoch(struct progress *progress, const reliht_progress *step)
{
    json_t *line = json_object();
    if (step->rounds)
        json_put_count(line, "round", step->round);
    else
        json_put_count(line, "layer", step->layer);
    json_put_count(line, "epoch", step->epoch);
    json_put(line, "loss", json_number(step->loss));
    if (!isnan(step->evaluation_loss))
        json_put(line, "evaluation_loss", json_number(step->evaluation_loss));
    json_put_count(line, "nnz", step->nnz);
    json_put(line, "step_size", json_number(step->step_size));
    if (step->swept)
        json_put_count(line, "swept", step->swept);
    json_put(line, "seconds", json_number(step->seconds));
    if (json_print_line(line, progress->log) || fflush(progress->log))
        note_log_error(progress);
    json_decref(line);
}

/* ---------------------------------------------------------------- the terminal */

const char *progress_clock(double seconds, char text[32])
{
    long long whole = seconds < 0 || seconds > 1e9 ? 0 : (long long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(text, 32, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(text, 32, "%lld:%02lld", whole / 60, whole % 60);
    return text;
}

static int terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

/* Share of the work that is done, all layers or rounds taken as equal. */
static double share_done(const reliht_progress *step)
{
    double epochs = (double)step->epoch;
    if (step->batch < step->batches)
        epochs += (double)step->batch / (double)step->batches;
    double layer = step->epochs ? epochs / (double)step->epochs : 1;
    size_t before = step->rounds ? step->round : step->layer;
    size_t all = step->rounds ? step->rounds : step->layers;
    double share = ((double)before + layer) / (double)(all ? all : 1);
    return share < 1 ? share : 1;
}

static void describe(const reliht_progress *step, char *text, size_t bytes)
{
    char elapsed[32], left[32], layer[48] = "", batch[48] = "";
    double share = share_done(step);
    if (step->layers > 1)
        snprintf(layer, sizeof layer, "layer %zu/%zu  ", step->layer + 1, step->layers);
    if (step->rounds > 1)
        snprintf(layer, sizeof layer, "training %zu/%zu  ", step->round + 1, step->rounds);
    if (step->batches > 1)
        snprintf(batch, sizeof batch, "  batch %zu/%zu", step->batch, step->batches);
    snprintf(text, bytes, "%sepoch %zu/%zu%s  loss %.4g  nnz %zu  %s elapsed, %s left", layer,
             step->epoch, step->epochs, batch, step->loss, step->nnz,
             progress_clock(step->seconds, elapsed),
             progress_clock(share > 0 ? step->seconds * (1 - share) / share : 0, left));
}

static void show_bar(struct progress *progress, double share, const char *text)
{
    char bar[64];
    int room = terminal_columns() - (int)strlen(text) - 5;
    int width = room > 30 ? 30 : room;
    fputs("\r\033[K", stderr);
    if (width >= 5) {
        int full = (int)(share * width + 0.5);
        memset(bar, '#', (size_t)full);
        memset(bar + full, '.', (size_t)(width - full));
        bar[width] = 0;
        fprintf(stderr, "[%s]  ", bar);
    }
    fprintf(stderr, "%.*s", terminal_columns() - 1, text);
    fflush(stderr);
    progress->bar_shown = true;
}

void progress_show(struct progress *progress, double share, double seconds, const char *text,
                   bool part_done)
{
    double since = seconds - progress->shown_at;
    if (progress->bar && (since >= BAR_EVERY || !progress->bar_shown || part_done)) {
        show_bar(progress, share, text);
        progress->shown_at = seconds;
    } else if (!progress->bar && !progress->quiet && since >= LINE_EVERY) {
        fprintf(stderr, "%s\n", text);
        progress->shown_at = seconds;
    }
}

bool progress_step(void *user, const reliht_progress *step)
{
    struct progress *progress = user;
    char text[256];
    bool epoch_done = step->batch >= step->batches;
    if (progress->log && !progress->log_emptied && ftruncate(fileno(progress->log), 0))
        note_log_error(progress);
    progress->log_emptied = true;
    if (progress->log && epoch_done)
        log_epoch(progress, step);
    describe(step, text, sizeof text);
    progress_show(progress, share_done(step), step->seconds, text, epoch_done);
    return signal_caught == 0;
}

void progress_pause(struct progress *progress)
{
    if (progress->bar_shown)
        fputs("\r\033[K", stderr);
    progress->bar_shown = false;
}

int progress_end(struct progress *progress)
{
    progress_pause(progress);
    if (progress->log && fclose(progress->log))
        note_log_error(progress);
    if (progress->made && !progress->log_emptied)
        unlink(progress->made);
    int error = progress->log_error;
    progress->log = NULL;
    progress->made = NULL;
    progress->log_error = 0;
    return error ? failure("--log: the log could not be written in full: %s", strerror(error))
                 : EXIT_DONE;
}
