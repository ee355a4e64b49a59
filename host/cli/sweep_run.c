/* Runs the open cells of a sweep, each in a process of the program itself, at most --jobs at a
 * time.
 *
 * Seeds are the outermost order, so that whole maps are there early. The child dies with its parent
 * (PR_SET_PDEATHSIG) and writes into memory files, so no pipe can fill up. */
#include "cli/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAXIMUM (1 << 20) /* bytes of a child's output that are looked at */
#define JOBS_MAXIMUM 4096u

struct job {
    pid_t child; /* 0: free */
    size_t cell;
    int out, err; /* memory files */
    double started;
};

struct scheduler {
    struct sweep *sweep;
    struct job *jobs;
    size_t job_count, running;
    uint64_t threads;                    /* of each child */
    size_t next;                         /* in the order of runs */
    size_t to_do, ended;                 /* of this run */
    size_t open[SWEEP_METHODS_MAXIMUM];  /* cells to do, by method */
    double wall[SWEEP_METHODS_MAXIMUM];  /* seconds of ended cells */
    size_t timed[SWEEP_METHODS_MAXIMUM]; /* their number */
    double began;
    sigset_t signals_before;
};

static size_t processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : (size_t)CPU_COUNT(&set);
}

/* Number `index` in the order of runs: seed, method, row, column, the last fastest. */
static size_t ordered_cell(const struct sweep *sweep, size_t index)
{
    cell_place place;
    place.column = index % sweep->columns.count;
    index /= sweep->columns.count;
    place.row = index % sweep->rows.count;
    index /= sweep->rows.count;
    place.method = index % sweep->method_count;
    place.seed = index / sweep->method_count;
    return sweep_cell(sweep, place);
}

/* ---------------------------------------------------------------- a child */

/* In the child: becomes the cell's command. */
static void become(const cell_line *line, const struct job *job, pid_t parent,
                   const sigset_t *signals)
{
    int null = open("/dev/null", O_RDONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it has gone before that was said */
        _exit(EXIT_FAILED);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(job->out, STDOUT_FILENO) < 0 ||
        dup2(job->err, STDERR_FILENO) < 0 || sigprocmask(SIG_SETMASK, signals, NULL))
        _exit(EXIT_FAILED);
    /* execv takes them as they are; it changes nothing */
    execv("/proc/self/exe", (char *const *)(const void *)line->words);
    dprintf(STDERR_FILENO, "the program could not start itself: %s\n", strerror(errno));
    _exit(EXIT_FAILED);
}

static int start_job(struct scheduler *scheduler, struct job *job, size_t cell)
{
    cell_line line;
    pid_t parent = getpid();
    sweep_cell_line(scheduler->sweep, cell, scheduler->threads, &line);
    job->cell = cell;
    job->started = wall_seconds();
    job->out = memfd_create("out", MFD_CLOEXEC);
    job->err = memfd_create("err", MFD_CLOEXEC);
    job->child = job->out < 0 || job->err < 0 ? -1 : fork();
    if (job->child == 0)
        become(&line, job, parent, &scheduler->signals_before);
    if (job->child > 0) {
        scheduler->running++;
        return EXIT_DONE;
    }
    int error = errno;
    if (job->out >= 0)
        close(job->out);
    if (job->err >= 0)
        close(job->err);
    job->child = 0;
    return failure("a cell could not be started: %s", strerror(error));
}

/* The last line of a child's output; of several the last that doesn't begin with `except`. The text
 * is to be freed; NULL if there is none. */
static char *last_line(int file, const char *except)
{
    char *text = calloc(1, OUTPUT_MAXIMUM + 1), *found = NULL;
    off_t end = lseek(file, 0, SEEK_END);
    off_t begin = end > OUTPUT_MAXIMUM ? end - OUTPUT_MAXIMUM : 0;
    if (!text || end < 0 || pread(file, text, OUTPUT_MAXIMUM, begin) < 0)
        goto done;
    for (char *rest = NULL, *line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        if (!except || strncmp(line, except, strlen(except)) != 0)
            found = line;
    }
    found = found ? strdup(found) : NULL;
done:
    free(text);
    return found;
}

/* ---------------------------------------------------------------- an ended child */

static void describe_failure(struct cell *cell, const struct job *job, int status)
{
    free(cell->message);
    cell->message = NULL;
    if (WIFSIGNALED(status)) {
        if (asprintf(&cell->message, "ended by signal %d (%s)", WTERMSIG(status),
                     strsignal(WTERMSIG(status))) < 0)
            cell->message = NULL;
        return;
    }
    cell->message = last_line(job->err, "See `reliht help");
    if (cell->message && !strncmp(cell->message, "reliht", 6)) { /* "reliht planted: " */
        const char *colon = strstr(cell->message, ": ");
        if (colon)
            memmove(cell->message, colon + 2, strlen(colon + 2) + 1);
    }
    if (!cell->message && asprintf(&cell->message, "exit status %d", WEXITSTATUS(status)) < 0)
        cell->message = NULL;
}

/* Takes what the child left. A child that was asked to end has nothing to record. */
static int end_job(struct scheduler *scheduler, struct job *job, int status)
{
    struct sweep *sweep = scheduler->sweep;
    struct cell *cell = &sweep->cells[job->cell];
    size_t method = sweep_place(sweep, job->cell).method;
    char *line = last_line(job->out, NULL);
    json_t *result = line ? json_loads(line, 0, NULL) : NULL;
    int recorded = EXIT_DONE;
    bool done = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_DONE && json_is_object(result);
    cell->wall = wall_seconds() - job->started;
    if (done) {
        cell->state = CELL_DONE;
        free(cell->message);
        cell->message = NULL;
        sweep_take_numbers(sweep, cell, result);
    } else {
        bool refused = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE;
        cell->state = refused ? CELL_REFUSED : CELL_FAILED;
        describe_failure(cell, job, status);
    }
    if (done || !progress_signal())
        recorded = sweep_record_cell(sweep, job->cell, done ? result : NULL);
    else
        cell->state = CELL_OPEN;
    if (cell->state == CELL_DONE || cell->state == CELL_FAILED) {
        scheduler->wall[method] += cell->wall;
        scheduler->timed[method]++;
    }
    scheduler->open[method]--;
    scheduler->ended++;
    scheduler->running--;
    close(job->out);
    close(job->err);
    job->child = 0;
    json_decref(result);
    free(line);
    return recorded;
}

static int take_ended(struct scheduler *scheduler)
{
    int result = EXIT_DONE;
    for (size_t i = 0; i < scheduler->job_count; i++) {
        struct job *job = &scheduler->jobs[i];
        int status;
        if (job->child > 0 && waitpid(job->child, &status, WNOHANG) == job->child) {
            int recorded = end_job(scheduler, job, status);
            result = result == EXIT_DONE ? recorded : result;
        }
    }
    return result;
}

static void kill_all(struct scheduler *scheduler)
{
    for (size_t i = 0; i < scheduler->job_count; i++) {
        struct job *job = &scheduler->jobs[i];
        if (job->child <= 0)
            continue;
        kill(job->child, SIGKILL);
        waitpid(job->child, NULL, 0);
        close(job->out);
        close(job->err);
        job->child = 0;
    }
    scheduler->running = 0;
}

/* ---------------------------------------------------------------- progress */

/* Cells of a method take alike; one that has not been timed is taken as the mean of the others. */
static double seconds_left(const struct scheduler *scheduler)
{
    double wall = 0, left = 0;
    size_t timed = 0;
    for (size_t i = 0; i < scheduler->sweep->method_count; i++) {
        wall += scheduler->wall[i];
        timed += scheduler->timed[i];
    }
    for (size_t i = 0; i < scheduler->sweep->method_count && timed; i++) {
        double mean = scheduler->timed[i] ? scheduler->wall[i] / (double)scheduler->timed[i]
                                          : wall / (double)timed;
        left += mean * (double)scheduler->open[i];
    }
    return left / (double)scheduler->job_count;
}

static void show(struct scheduler *scheduler, bool ended)
{
    char elapsed[32], left[32], text[160];
    double seconds = wall_seconds() - scheduler->began;
    double share = (double)scheduler->ended / (double)scheduler->to_do;
    snprintf(text, sizeof text, "%zu of %zu cells, %zu running  %s elapsed, %s left",
             scheduler->ended, scheduler->to_do, scheduler->running,
             progress_clock(seconds, elapsed), progress_clock(seconds_left(scheduler), left));
    progress_show(&scheduler->sweep->progress, share, seconds, text, ended);
}

/* ---------------------------------------------------------------- the run */

/* Starts cells until all jobs are busy or nothing is left. */
static int fill(struct scheduler *scheduler)
{
    struct sweep *sweep = scheduler->sweep;
    for (size_t i = 0; i < scheduler->job_count && !progress_signal(); i++) {
        if (scheduler->jobs[i].child)
            continue;
        for (; scheduler->next < sweep->cell_count; scheduler->next++) {
            enum cell_state state = sweep->cells[ordered_cell(sweep, scheduler->next)].state;
            if (state == CELL_OPEN || state == CELL_FAILED)
                break;
        }
        if (scheduler->next == sweep->cell_count)
            return EXIT_DONE;
        int result =
            start_job(scheduler, &scheduler->jobs[i], ordered_cell(sweep, scheduler->next));
        if (result != EXIT_DONE)
            return result;
        scheduler->next++;
    }
    return EXIT_DONE;
}

static int loop(struct scheduler *scheduler, const sigset_t *child_ends)
{
    const struct timespec wait = {0, 100000000};
    while (true) {
        int result = fill(scheduler);
        if (result != EXIT_DONE || !scheduler->running || progress_signal())
            return result;
        sigtimedwait(child_ends, NULL, &wait); /* also returns when another signal has come */
        size_t before = scheduler->ended;
        result = take_ended(scheduler);
        if (result != EXIT_DONE)
            return result;
        show(scheduler, scheduler->ended > before);
    }
}

static int prepare(struct scheduler *scheduler)
{
    const struct sweep *sweep = scheduler->sweep;
    const struct settings *settings = sweep->settings;
    size_t all = settings->threads ? (size_t)settings->threads : processors();
    for (size_t cell = 0; cell < sweep->cell_count; cell++) {
        size_t method = sweep_place(sweep, cell).method;
        enum cell_state state = sweep->cells[cell].state;
        scheduler->open[method] += state == CELL_OPEN || state == CELL_FAILED;
        scheduler->timed[method] += state == CELL_DONE;
        scheduler->wall[method] += state == CELL_DONE ? sweep->cells[cell].wall : 0;
    }
    for (size_t i = 0; i < sweep->method_count; i++)
        scheduler->to_do += scheduler->open[i];
    scheduler->job_count = settings->jobs == UNSET_COUNT ? processors() : (size_t)settings->jobs;
    if (scheduler->job_count > JOBS_MAXIMUM)
        scheduler->job_count = JOBS_MAXIMUM;
    if (scheduler->job_count > scheduler->to_do)
        scheduler->job_count = scheduler->to_do;
    if (!scheduler->to_do)
        return EXIT_DONE;
    scheduler->threads = all / scheduler->job_count ? all / scheduler->job_count : 1;
    scheduler->jobs = calloc(scheduler->job_count, sizeof *scheduler->jobs);
    return scheduler->jobs ? EXIT_DONE
                           : failure("out of memory for %zu jobs", scheduler->job_count);
}

int sweep_run(struct sweep *sweep)
{
    struct scheduler scheduler = {.sweep = sweep, .began = wall_seconds()};
    sigset_t child_ends;
    int result = prepare(&scheduler);
    if (result == EXIT_DONE)
        result = progress_start(&sweep->progress, NULL, sweep->settings->quiet);
    if (result == EXIT_DONE && scheduler.to_do) {
        sigemptyset(&child_ends);
        sigaddset(&child_ends, SIGCHLD);
        sigprocmask(SIG_BLOCK, &child_ends, &scheduler.signals_before);
        result = loop(&scheduler, &child_ends);
        kill_all(&scheduler);
        sigprocmask(SIG_SETMASK, &scheduler.signals_before, NULL);
        progress_pause(&sweep->progress);
    }
    free(scheduler.jobs);
    return result;
}
