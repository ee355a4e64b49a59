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
    cell_group group;
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
static void become(const group_line *line, const struct job *job, pid_t parent,
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
    group_line line;
    pid_t parent = getpid();
    sweep_gather(scheduler->sweep, cell, &job->group);
    sweep_group_line(scheduler->sweep, &job->group, scheduler->threads, &line);
    for (size_t i = 0; i < job->group.count; i++)
        scheduler->sweep->cells[job->group.cells[i]].started = true;
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

/* Why it was refused or failed; to be freed, NULL without memory. */
static char *describe_failure(const struct job *job, int status)
{
    char *message = NULL;
    if (WIFSIGNALED(status)) {
        if (asprintf(&message, "ended by signal %d (%s)", WTERMSIG(status),
                     strsignal(WTERMSIG(status))) < 0)
            return NULL;
        return message;
    }
    message = last_line(job->err, "See `reliht help");
    if (!message && asprintf(&message, "exit status %d", WEXITSTATUS(status)) < 0)
        return NULL;
    const char *colon = message ? strstr(message, ": ") : NULL;
    if (colon && !strncmp(message, "reliht", 6)) /* "reliht planted: " */
        memmove(message, colon + 2, strlen(colon + 2) + 1);
    return message;
}

/* What a result says of one cell. A run that served several has a list of `targets`: the one of
 * that --nnz stands for the keys of the same names. A new reference, NULL if it says nothing. */
static json_t *result_of_cell(const struct sweep *sweep, size_t cell, json_t *result)
{
    const json_t *targets = json_object_get(result, "targets");
    uint64_t nnz = sweep->columns.values[sweep_place(sweep, cell).column];
    if (!json_is_object(result) || !targets)
        return json_is_object(result) ? json_incref(result) : NULL;
    for (size_t i = 0; i < json_array_size(targets); i++) {
        json_t *target = json_array_get(targets, i), *own;
        if ((uint64_t)json_integer_value(json_object_get(target, "nnz_budget")) != nnz &&
            json_array_size(targets) > 1)
            continue;
        own = json_copy(result);
        json_object_del(own, "targets");
        json_object_update(own, target);
        return own;
    }
    return NULL;
}

/* Puts what came of a run into its cells and records them. */
static int take_group(struct scheduler *scheduler, struct job *job, int status, json_t *result)
{
    struct sweep *sweep = scheduler->sweep;
    json_t *results[SWEEP_SHARED_MAXIMUM] = {NULL};
    bool done = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_DONE;
    bool refused = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE;
    for (size_t i = 0; i < job->group.count; i++) {
        struct cell *cell = &sweep->cells[job->group.cells[i]];
        results[i] = done ? result_of_cell(sweep, job->group.cells[i], result) : NULL;
        cell->wall = (wall_seconds() - job->started) / (double)job->group.count;
        cell->state = results[i] ? CELL_DONE : refused ? CELL_REFUSED : CELL_FAILED;
        free(cell->message);
        cell->message = results[i] ? NULL : describe_failure(job, status);
        if (results[i])
            sweep_take_numbers(sweep, cell, results[i]);
    }
    int recorded = sweep_record_group(sweep, &job->group, results);
    for (size_t i = 0; i < job->group.count; i++)
        json_decref(results[i]);
    return recorded == EXIT_DONE ? sweep_check_metric(sweep) : recorded;
}

static void count_group(struct scheduler *scheduler, const struct job *job)
{
    size_t method = sweep_place(scheduler->sweep, job->group.cells[0]).method;
    scheduler->open[method] -= job->group.count;
    scheduler->ended += job->group.count;
    scheduler->timed[method] += job->group.count;
    scheduler->wall[method] += wall_seconds() - job->started;
}

/* A cell of the group cannot exist, most likely the one with the most weights: that one is tried by
 * itself, the others together again. */
static void run_apart(struct scheduler *scheduler, const struct job *job)
{
    const struct sweep *sweep = scheduler->sweep;
    size_t largest = job->group.cells[0];
    for (size_t i = 0; i < job->group.count; i++) {
        size_t cell = job->group.cells[i];
        sweep->cells[cell].started = false;
        if (sweep->columns.values[sweep_place(sweep, cell).column] >
            sweep->columns.values[sweep_place(sweep, largest).column])
            largest = cell;
    }
    sweep->cells[largest].alone = true;
    scheduler->next = 0;
}

static int end_job(struct scheduler *scheduler, struct job *job, int status)
{
    char *line = last_line(job->out, NULL);
    json_t *result = line ? json_loads(line, 0, NULL) : NULL;
    int recorded = EXIT_DONE;
    bool done = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_DONE;
    bool refused = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE;
    if (refused && job->group.count > 1) {
        run_apart(scheduler, job);
    } else if (done || !progress_signal()) { /* what was asked to end has nothing to record */
        recorded = take_group(scheduler, job, status, result);
        count_group(scheduler, job);
    }
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
            if (sweep_is_open(&sweep->cells[ordered_cell(sweep, scheduler->next)]))
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
