/* `reliht sense`: recovers a sparse vector from Gaussian measurements. */
#include "cli/cli.h"

static void sense_options(struct run *run, reliht_sense_options *options)
{
    const struct settings *settings = run->settings;
    reliht_sense_options_default(options);
    options->length = settings->length;
    options->nnz = settings->nnz;
    options->measurements = settings->measurements;
    options->epochs = settings->epochs;
    options->refits = settings->refits;
    options->tolerance = settings->tolerance;
    options->seed = settings->seed;
    options->progress = progress_step;
    options->progress_user = &run->progress;
}

static void describe(struct run *run, const reliht_sense_options *options,
                     const reliht_sense_report *report)
{
    json_put(run->result, "solver", json_string("aiht"));
    json_put_count(run->result, "samples", options->measurements);
    json_put_count(run->result, "inputs", options->length);
    json_put_count(run->result, "nnz_budget", options->nnz);
    json_put_count(run->result, "nnz_used", report->nnz_used);
    json_put_count(run->result, "epochs", report->epochs);
    json_put_count(run->result, "seed", options->seed);
    json_put(run->result, "loss_final", json_number(report->loss_final));
    json_put(run->result, "support_recall", json_number(report->support_recall));
    json_put(run->result, "weight_rel_error", json_number(report->weight_rel_error));
    run_fact(run, "problem", "%zu measurements of a vector of %zu with %zu nonzeros",
             options->measurements, options->length, options->nnz);
    run_fact(run, "training", "%zu epoch%s%s, loss %.6g", report->epochs,
             report->epochs == 1 ? "" : "s", report->converged ? " to convergence" : "",
             report->loss_final);
    run_fact(run, "recovered", "%.4f of the support, values to a relative error of %.3g",
             report->support_recall, report->weight_rel_error);
}

int command_sense(const struct command *command, const struct settings *settings)
{
    struct run run;
    reliht_sense_options options;
    reliht_sense_report report;
    const char *const outputs[] = {settings->log};
    int result = run_open(&run, command, settings);
    if (result == EXIT_DONE)
        result = run_check_outputs(&run, outputs, 1);
    if (result == EXIT_DONE)
        result = progress_start(&run.progress, settings->log, settings->quiet);
    if (result == EXIT_DONE) {
        sense_options(&run, &options);
        reliht_status status = reliht_sense(run.context, &options, &report);
        progress_pause(&run.progress);
        run.cancelled = status == RELIHT_CANCELLED;
        if (status == RELIHT_OK || run.cancelled) {
            describe(&run, &options, &report);
            result = run_finish(&run, report.seconds, report.seconds_sweep, 0);
        } else {
            result = run_failure(&run, status);
        }
    }
    return run_close(&run, result);
}
