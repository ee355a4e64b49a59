/* The command line: what its files share. It uses the public interface alone.
 *
 * A run goes through the same steps in every command: options -> context -> data -> work under
 * progress_step -> facts (for people) and a JSON result (for programs). */
#ifndef RELIHT_CLI_CLI_H
#define RELIHT_CLI_CLI_H

#include "cli/options.h"

#include <jansson.h>
#include <stdio.h>

/* Exit status; a run ended by a signal exits with 128 + its number. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* ---- errors: each prints one sentence to stderr and returns the exit status. */
int usage_error(const struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int failure(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- progress.c: what is seen and recorded while a run goes on, and how signals end it. */
struct progress {
    FILE *log;        /* JSON lines, or NULL */
    bool log_emptied; /* what an older run has left in it is gone */
    const char *made; /* path of the log if this run has made it, or NULL */
    int log_error;    /* errno of the first line that could not be written, or 0 */
    bool quiet, bar;  /* bar: stderr is a terminal */
    bool bar_shown;   /* a bar stands on the terminal's last line */
    double shown_at;  /* when the last bar or line was written, seconds of the run */
};

/* Opens the log (`path` may be NULL) and lets SIGINT and SIGTERM ask for an end from here on; a
 * second signal kills. One that the program was started to ignore stays ignored. */
int progress_start(struct progress *progress, const char *log_path, bool quiet);
bool progress_step(void *progress, const reliht_progress *step);
/* Shows a line of text with a bar, or alone where there is no terminal, unless the last one was
 * just before; `seconds` since the start, `part_done`: something has ended, which is always shown
 * on a terminal. progress_step calls it. */
void progress_show(struct progress *progress, double share, double seconds, const char *text,
                   bool part_done);
/* "1:02:03" or "2:03" into text. */
const char *progress_clock(double seconds, char text[32]);
/* Wipes the bar, so that other lines can follow. */
void progress_pause(struct progress *progress);
/* Wipes the bar, closes the log, and removes it if it is new and nothing was done; EXIT_FAILED if
 * it could not be written. */
int progress_end(struct progress *progress);
/* The signal that asked for an end, or 0. */
int progress_signal(void);

/* ---- json.c: results as JSON; what is not finite becomes null. */
json_t *json_number(double value);
void json_put(json_t *object, const char *key, json_t *value); /* takes the reference */
void json_put_count(json_t *object, const char *key, uint64_t value);
int json_print_line(const json_t *object, FILE *file); /* nonzero if it could not be written */

/* ---- run.c: one run of a command. */
struct run {
    const struct command *command;
    const struct settings *settings;
    reliht_context *context;
    struct progress progress;
    json_t *result;
    bool cancelled;
};

int run_open(struct run *run, const struct command *command, const struct settings *settings);
/* Releases everything; `status` is passed through, or replaced if the log could not be written. */
int run_close(struct run *run, int status);
/* Explains the library's last failure; EXIT_USAGE if it was about an argument. */
int run_failure(const struct run *run, reliht_status status);
/* Refuses, before any work, files that could not be written; paths may be NULL. */
int run_check_outputs(const struct run *run, const char *const paths[], size_t count);
/* Ends a run that worked: memory and time into the result, the result to stdout if --json, else
 * the facts about time and memory. `dense_bytes` as in reliht_model_dense_bytes, or 0. Returns the
 * exit status, which is that of the signal if one ended the run. */
int run_finish(struct run *run, double seconds, double seconds_sweep, double dense_bytes);
/* A line for people, "label   text"; nothing with --json. */
void run_fact(const struct run *run, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
double wall_seconds(void);
/* "12.3 MB" into text. */
const char *bytes_text(double bytes, char text[32]);

/* ---- network.c: what the commands that train have in common. */
void network_options(const struct run *run, const reliht_dataset *dataset,
                     reliht_train_options *options);
/* Trains, writes --model if given, and records the network and the report in the result. A run that
 * a signal ended counts as done if there is a model. */
int network_train(struct run *run, const reliht_dataset *dataset,
                  const reliht_train_options *options, reliht_model **model,
                  reliht_train_report *report);
void network_describe(struct run *run, const reliht_dataset *dataset, const reliht_model *model);

/* ---- data.c: the data sets that options, or a model's metadata, speak of. */
int data_open_training(struct run *run, reliht_dataset **train, reliht_dataset **test);
/* The training inputs alone; NULL if no option names data. */
int data_open_inputs(struct run *run, reliht_dataset **dataset);
/* Data to apply a model to. `width` and `height` are those of the picture for --image, else 0. */
int data_open_for_model(struct run *run, const reliht_model *model, bool targets_needed,
                        reliht_dataset **dataset, size_t *width, size_t *height);

/* ---- command_planted.c: planted problems, for the commands that draw them. */
void planted_options(const struct settings *settings, reliht_planted_options *options);
/* Draws, or plants on the inputs of --inputs-from. */
int planted_draw(struct run *run, const reliht_planted_options *options, reliht_model **planted,
                 reliht_dataset **data);
/* Whether the data determine the weights of a network, for commands that report it. */
void put_identifiability(json_t *result, const reliht_identifiability *found);

/* ---- command_inr.c: images, for the commands that fit them. */
/* EXIT_USAGE if the options tell of no image. */
int image_options(const struct command *command, const struct settings *settings,
                  reliht_image_options *options);
/* What a network that was fitted to an image draws, as PNG. */
int image_write(struct run *run, const reliht_model *model, const reliht_dataset *data,
                size_t width, size_t height, const char *path);

/* ---- picture.c: the weights of a first layer as small images. */
/* Whether `inputs` values make an image; `channels` planes of width * height. */
bool picture_shape(size_t inputs, size_t *width, size_t *height, size_t *channels);
int picture_write(struct run *run, const reliht_model *model, const char *path);

/* ---- main.c */
/* NULL if there is no such command. */
const struct command *command_find(const char *name);

/* ---- certify_plot.c: histograms of a certificate's values by gnuplot. */
struct certify_values {
    const reliht_certificate *certificate;
    size_t directions, supports;
    double *quotients;          /* [3, directions] */
    double *smallest, *largest; /* [3, supports] */
};
/* Whether `path` ends in .svg or .png. */
bool certify_plot_possible(const char *path);
/* A missing gnuplot is no failure: a note says what to install. */
int certify_plot(const struct certify_values *values, const char *path);

/* ---- gnuplot.c */
/* Runs gnuplot on a script (text). `folder`: a descriptor of the folder to run in, or AT_FDCWD.
 * What it prints is appended to the file `printed`; `message` gets the first line of what it says
 * on standard error and, for `printed` -1, on standard output. Returns 0, 127 if there is no
 * gnuplot, else another status. */
int gnuplot_run(int folder, const char *script, size_t length, int printed, char *message,
                size_t bytes);

/* ---- one function per command; sweep reads its arguments itself, since they hold another
 * command's. */
int command_sweep(const struct command *command, int argc, const char **argv);
int command_train(const struct command *command, const struct settings *settings);
int command_planted(const struct command *command, const struct settings *settings);
int command_inr(const struct command *command, const struct settings *settings);
int command_sense(const struct command *command, const struct settings *settings);
int command_eval(const struct command *command, const struct settings *settings);
int command_predict(const struct command *command, const struct settings *settings);
int command_info(const struct command *command, const struct settings *settings);
int command_prune(const struct command *command, const struct settings *settings);
int command_certify(const struct command *command, const struct settings *settings);
int command_bench(const struct command *command, const struct settings *settings);

#endif
