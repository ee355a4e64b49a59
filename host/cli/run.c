/* The steps that every run of a command shares: context, checks, errors, the closing result. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

/* ---------------------------------------------------------------- errors */

int usage_error(const struct command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "reliht %s: ", command->name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, ".\nSee `reliht help %s`.\n", command->name);
    va_end(arguments);
    return EXIT_USAGE;
}

int failure(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("reliht: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return EXIT_FAILED;
}

static void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void warn(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("reliht: note: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

int run_failure(const struct run *run, reliht_status status)
{
    const char *message = reliht_context_message(run->context);
    if (!*message)
        message = reliht_status_text(status);
    if (status != RELIHT_ARGUMENT)
        return failure("%s", message);
    size_t length = strlen(message);
    int dot = length && message[length - 1] == '.';
    return usage_error(run->command, "%.*s", (int)length - dot, message);
}

/* ---------------------------------------------------------------- begin and end */

int run_open(struct run *run, const struct command *command, const struct settings *settings)
{
    char message[512];
    reliht_context_options options;
    memset(run, 0, sizeof *run);
    run->command = command;
    run->settings = settings;
    reliht_context_options_default(&options);
    options.backend = (reliht_backend_kind)settings->backend;
    options.threads = (uint32_t)settings->threads;
    if (reliht_context_create(&options, &run->context, message, sizeof message) != RELIHT_OK)
        return failure("%s", message);
    run->result = json_object();
    json_put(run->result, "command", json_string(command->name));
    json_put(run->result, "backend", json_string(reliht_context_backend(run->context)));
    if (options.backend == RELIHT_BACKEND_AUTO &&
        strcmp(reliht_context_backend(run->context), "cpu") != 0)
        fprintf(stderr, "reliht: computing on %s\n", reliht_context_backend_details(run->context));
    return run->result ? EXIT_DONE : failure("out of memory");
}

int run_close(struct run *run, int status)
{
    int ended = progress_end(&run->progress);
    json_decref(run->result);
    reliht_context_destroy(run->context);
    return status == EXIT_DONE ? ended : status;
}

static bool same_state(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/* The name within its folder, which `state` tells of; NULL if there is no such folder. */
static const char *name_in_folder(const char *path, struct stat *state)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    if (length >= sizeof folder)
        return NULL;
    memcpy(folder, path, length);
    folder[length] = 0;
    return stat(length ? folder : ".", state) ? NULL : path + length;
}

/* Whether two paths, which may be NULL, lead to one file, be it one that is not there yet. */
static bool same_file(const char *left, const char *right)
{
    struct stat one, other;
    if (!left || !right)
        return false;
    if (!stat(left, &one) && !stat(right, &other))
        return same_state(&one, &other);
    const char *name = name_in_folder(left, &one), *beside = name_in_folder(right, &other);
    return name && beside && same_state(&one, &other) && !strcmp(name, beside);
}

/* Refuses to write what the run reads. */
static int check_inputs(const struct run *run, const char *output)
{
    const struct settings *settings = run->settings;
    bool reads_model = run->command->bit & (EVAL | PREDICT | CERTIFY);
    const char *const inputs[] = {settings->x,          settings->y,
                                  settings->x_test,     settings->y_test,
                                  settings->generators, settings->inputs_from,
                                  settings->image,      reads_model ? settings->model : NULL};
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        if (same_file(output, inputs[i]))
            return usage_error(run->command, "'%s' is read by this run; write to another file",
                               output);
    }
    return EXIT_DONE;
}

int run_check_outputs(const struct run *run, const char *const paths[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (paths[i] && reliht_model_check_path(run->context, paths[i]) != RELIHT_OK)
            return failure("%s", reliht_context_message(run->context));
        if (check_inputs(run, paths[i]) != EXIT_DONE)
            return EXIT_USAGE;
        for (size_t j = 0; j < i; j++) {
            if (same_file(paths[i], paths[j]))
                return usage_error(run->command, "'%s' is to hold two different things", paths[i]);
        }
    }
    return EXIT_DONE;
}

/* ---------------------------------------------------------------- result */

double wall_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double process_cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec +
           (double)usage.ru_stime.tv_sec + 1e-6 * (double)usage.ru_stime.tv_usec;
}

static double process_peak_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return 1024.0 * (double)usage.ru_maxrss; /* Linux counts in KiB */
}

const char *bytes_text(double bytes, char text[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    for (; bytes >= 999.5 && unit < 5; unit++)
        bytes /= 1000;
    snprintf(text, 32, unit && bytes < 9.95 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return text;
}

/* Control characters, which a terminal would obey, as in \x1b: facts quote files. Returns how many
 * bytes were printed. */
static int print_text(const char *text)
{
    int printed = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) /* U+0080 to U+009F */
            printed += printf("\\x%02x", *++c);
        else if (*c < 0x20 || *c == 0x7f)
            printed += printf("\\x%02x", *c);
        else
            printed += printf("%c", *c);
    }
    return printed;
}

void run_fact(const struct run *run, const char *label, const char *format, ...)
{
    va_list arguments;
    char *text;
    if (run->settings->json)
        return;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    int printed = print_text(label);
    printf("%*s", printed < 16 ? 16 - printed : 0, "");
    print_text(text);
    putchar('\n');
    free(text);
}

/* Peaks by purpose as an object, and in words. */
static json_t *memory_by_purpose(const reliht_memory *peak, char *parts, size_t room)
{
    char amount[32];
    size_t length = 0;
    json_t *bytes = json_object();
    parts[0] = '\0';
#define PUT_MEMORY(name)                                                                         \
    json_put_count(bytes, #name, peak->name);                                                    \
    if (peak->name)                                                                              \
        length += (size_t)snprintf(parts + length, room - length, "%s%s %s", length ? ", " : "", \
                                   #name, bytes_text((double)peak->name, amount));
    RELIHT_MEMORY_LIST(PUT_MEMORY)
#undef PUT_MEMORY
    return bytes;
}

static void put_memory(struct run *run, double dense_bytes)
{
    reliht_memory peak;
    char amount[32], parts[512];
    reliht_context_memory(run->context, NULL, &peak);
    json_put_count(run->result, "peak_rss_bytes", (uint64_t)process_peak_bytes());
    json_put(run->result, "peak_bytes", memory_by_purpose(&peak, parts, sizeof parts));
    if (dense_bytes > 0)
        json_put_count(run->result, "dense_bytes", (uint64_t)dense_bytes);
    run_fact(run, "memory", "%s at the peak", bytes_text(process_peak_bytes(), amount));
    run_fact(run, "of the library", "%s", parts);
    reliht_context_device_memory(run->context, NULL, &peak);
    if (!peak.total)
        return;
    json_put(run->result, "device_peak_bytes", memory_by_purpose(&peak, parts, sizeof parts));
    run_fact(run, "on the GPU", "%s at the peak: %s", bytes_text((double)peak.total, amount),
             parts);
}

int run_finish(struct run *run, double seconds, double seconds_sweep, double dense_bytes)
{
    double cpu = process_cpu_seconds();
    int signal_number = progress_signal();
    json_put(run->result, "seconds", json_number(seconds));
    json_put(run->result, "cpu_seconds", json_number(cpu));
    if (seconds_sweep >= 0) {
        json_put(run->result, "seconds_sweep", json_number(seconds_sweep));
        run_fact(run, "time", "%.2f s of training, %.2f s of it in sweeps; %.2f CPU s in all",
                 seconds, seconds_sweep, cpu);
    } else {
        run_fact(run, "time", "%.2f s; %.2f CPU s in all", seconds, cpu);
    }
    put_memory(run, dense_bytes);
    if (run->settings->json && json_print_line(run->result, stdout))
        return failure("the result could not be printed");
    if (run->cancelled)
        warn("ended early by signal %d; this is the best so far", signal_number);
    return run->cancelled ? 128 + signal_number : EXIT_DONE;
}
