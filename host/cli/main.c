/* `reliht COMMAND [options]`: the table of commands, help, and how the program ends. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------------- defaults */

static void defaults_training(struct settings *settings)
{
    reliht_train_options options;
    reliht_train_options_default(&options);
    settings->hidden = options.hidden;
    settings->nnz = options.nnz;
    settings->layers = options.layers;
    settings->epochs = options.epochs;
    settings->refits = options.refits;
    settings->tolerance = options.tolerance;
    settings->batch = 0;
}

static void defaults_train(struct settings *settings)
{
    defaults_training(settings);
    settings->batch = UNSET_COUNT;
}

static void defaults_planted(struct settings *settings)
{
    reliht_planted_options options;
    reliht_planted_options_default(&options);
    defaults_training(settings);
    settings->samples = options.samples;
    settings->inputs = options.inputs;
    settings->outputs = options.outputs;
    settings->hidden = 10;
    settings->nnz = 50;
    settings->correlation = options.correlation;
    settings->density = options.density;
}

static void defaults_inr(struct settings *settings)
{
    reliht_image_options options;
    reliht_image_options_default(&options);
    defaults_training(settings);
    settings->features = options.features;
    settings->sigma = options.sigma;
    settings->coordinates = options.unit_coordinates;
    settings->hidden = 10;
    settings->nnz = 1000;
    settings->epochs = 100;
    settings->batch = UNSET_COUNT;
    settings->bias = true; /* without it the fit hangs on a drawn frequency near zero */
}

static void defaults_sense(struct settings *settings)
{
    reliht_sense_options options;
    reliht_sense_options_default(&options);
    settings->length = options.length;
    settings->nnz = options.nnz;
    settings->measurements = options.measurements;
    settings->epochs = options.epochs;
    settings->refits = options.refits;
    settings->tolerance = options.tolerance;
}

/* What depends on the task is set by command_prune. */
static void defaults_prune(struct settings *settings)
{
    reliht_planted_options planted;
    reliht_image_options image;
    reliht_prune_options options;
    reliht_planted_options_default(&planted);
    reliht_image_options_default(&image);
    reliht_prune_options_default(&options);
    settings->samples = planted.samples;
    settings->inputs = planted.inputs;
    settings->outputs = planted.outputs;
    settings->correlation = planted.correlation;
    settings->density = planted.density;
    settings->features = image.features;
    settings->sigma = image.sigma;
    settings->coordinates = image.unit_coordinates;
    settings->hidden = settings->epochs = UNSET_COUNT;
    settings->layers = options.layers;
    settings->prune_rate = options.rate;
    settings->learning_rate = options.learning_rate;
}

static void defaults_apply(struct settings *settings)
{
    settings->split = UNSET_CHOICE;
}

static void defaults_info(struct settings *settings)
{
    (void)settings;
}

static void defaults_sweep(struct settings *settings)
{
    settings->jobs = UNSET_COUNT;
}

static void defaults_certify(struct settings *settings)
{
    reliht_certify_options options;
    reliht_certify_options_default(&options);
    defaults_planted(settings);
    settings->samples = 5000;
    settings->hidden = options.hidden;
    settings->planted_hidden = 10;
    settings->nnz = 20;
    settings->directions = options.directions;
    settings->searches = options.searches;
}

static void defaults_bench(struct settings *settings)
{
    settings->hidden = UNSET_COUNT;
    settings->generator = UNSET_CHOICE;
    settings->nnz = 1000;
    settings->repeats = 7;
}

/* ---------------------------------------------------------------- commands */

static const struct command COMMANDS[] = {
    {"train", TRAIN, NULL, "train a sparse network on a data set",
     "Trains a ReLU network of which at most --nnz weights are ever nonzero, on one\n"
     "of the data sets the program knows (--data) or on arrays (--x, --y), and\n"
     "prints its accuracy. Two classes or one real target make one output, trained\n"
     "by the published algorithm (fused); more outputs are trained in factored form.\n"
     "An interrupted run (Ctrl-C) still writes the best model so far. In the JSON\n"
     "result `seconds` is the time of training alone and `cpu_seconds` the processor\n"
     "time of the whole program.",
     "  reliht train --data fashion-mnist --hidden 200 --nnz 10000 --epochs 10 \\\n"
     "      --model fashion.safetensors --picture fashion.png",
     defaults_train, command_train},
    {"planted", PLANTED, NULL, "recover a planted network from its outputs",
     "Draws a sparse network and inputs, trains a network on the data alone and\n"
     "prints the PSNR of its outputs and, for one hidden layer, how much of the\n"
     "planted weights was recovered: neurons that are one on the data are merged and\n"
     "the rest paired as well as possible (with --convex the neurons' numbers pair\n"
     "them). For one output it says whether the draw is identifiable, and with\n"
     "--noise what an oracle that knows the support would reach.",
     "  reliht planted --samples 2000 --hidden 10 --nnz 50 --convex --disjoint \\\n"
     "      --magnitude-minimum 1",
     defaults_planted, command_planted},
    {"inr", INR, NULL, "fit an image by a network on its pixel coordinates",
     "Fits an implicit neural representation: a sparse network from random Fourier\n"
     "features of the coordinates of each pixel to its value. --out writes what the\n"
     "network draws.",
     "  reliht inr --image digit.png --hidden 10 --nnz 200 --out fitted.png", defaults_inr,
     command_inr},
    {"sense", SENSE, NULL, "recover a sparse vector from Gaussian measurements",
     "Compressed sensing by iterative hard thresholding. The columns of the\n"
     "measurement matrix are drawn again whenever they are needed, so the matrix is\n"
     "never stored.",
     "  reliht sense --length 1000 --nnz 10 --measurements 200", defaults_sense, command_sense},
    {"prune", PRUNE, "train|planted|inr", "dense training and magnitude pruning, the baseline",
     "Iterative magnitude pruning on the data of another command: of a data set\n"
     "(`reliht prune train`, or no word), a planted network (`reliht prune planted`) or\n"
     "an image (`reliht prune inr`). A dense network is trained by Adam; round by\n"
     "round the smallest weights are removed, the others return to where they began,\n"
     "and the network is trained again. The result tells the score of the dense\n"
     "network, of each target right after the cut (..._cut) and after training on its\n"
     "mask. Bias weights are pruned and counted like the others.",
     "  reliht prune --data mnist --hidden 200 --nnz 10000,2000,500 --model pruned.safetensors\n"
     "  reliht prune planted --hidden 10 --nnz 50 --json",
     defaults_prune, command_prune},
    {"eval", EVAL, NULL, "evaluate a model on data",
     "Prints the accuracy of a model, or the PSNR where targets are real. Data set,\n"
     "classes, split and scaling are those the model was trained with unless options\n"
     "say otherwise.",
     "  reliht eval --model fashion.safetensors", defaults_apply, command_eval},
    {"predict", PREDICT, NULL, "apply a model to data",
     "Computes the outputs of a model, [samples, outputs], and writes them as .npy\n"
     "or prints a line per sample.",
     "  reliht predict --model fashion.safetensors --x images.npy --out scores.npy", defaults_apply,
     command_predict},
    {"info", INFO, NULL, "describe a model file, or the backend in use",
     "With --model: shapes, nonzeros and metadata of the model. Without: version and\n"
     "backend.",
     "  reliht info --model fashion.safetensors\n  reliht info --backend", defaults_info,
     command_info},
    {"sweep", SWEEP, NULL, "run a task over a grid, with heatmaps",
     "`reliht sweep TASK` runs train, planted, inr or sense for every combination of\n"
     "the values of two options, methods and seeds, each in a process of its own, and\n"
     "writes to --out results.csv, results.npy [methods, rows, columns, seeds] and,\n"
     "with gnuplot, heatmap.svg and heatmap.png (means over seeds). What has ended is\n"
     "recorded in cells.jsonl: the same command again runs only what is missing, also\n"
     "after a kill, and the lists may grow. All other options are handed to the task\n"
     "(`reliht help TASK`); --METHOD:option goes to one method alone.",
     "  reliht sweep planted --hidden 10,50 --nnz 10,50,200 --seeds 0-2 --out figure \\\n"
     "      --method aiht,prune --samples 5000 --prune:epochs 20\n"
     "  reliht sweep sense --axes measurements,nnz --measurements 50,100,200,400 \\\n"
     "      --nnz 5,10,20,40 --seeds 0-9 --out phase",
     defaults_sweep, NULL},
    {"certify", CERTIFY, NULL, "measure the conditions of the recovery guarantee",
     "Measures, for given or drawn inputs and a network that is read (--model) or\n"
     "planted, what the recovery guarantee rests on: how many samples activate each\n"
     "neuron, how far the patterns are apart and from drawn ones, restricted strong\n"
     "convexity and smoothness of the convex form with --hidden patterns, and the\n"
     "contraction they imply; and says plainly whether it applies.\n"
     "Every number is marked as exact, a bound or an estimate.",
     "  reliht certify --samples 2000 --hidden 50 --planted-hidden 5 --nnz 10\n"
     "  reliht certify --data fashion-mnist --train-limit 5000 --model fashion.safetensors",
     defaults_certify, command_certify},
    {"bench", BENCH, "sweep", "measure the speed of the sweep",
     "`reliht bench sweep` times one sweep over all neurons (patterns, masked\n"
     "gradient, choice of the largest entries) beside one single-precision matrix\n"
     "product of the same shapes by OpenBLAS: medians of interleaved runs. ratio =\n"
     "seconds_sgemm / seconds_sweep.",
     "  reliht bench sweep --samples 50000 --inputs 100 --hidden 1000 --json", defaults_bench,
     command_bench},
};
#define COMMAND_COUNT (sizeof COMMANDS / sizeof COMMANDS[0])

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (!strcmp(COMMANDS[i].name, name))
            return &COMMANDS[i];
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    fprintf(stderr, "reliht: there is no command '%s'.\nSee `reliht help`.\n", name);
    return EXIT_USAGE;
}

static void print_overview(FILE *file)
{
    fputs("reliht trains sparse ReLU networks from scratch by iterative hard thresholding.\n\n"
          "Usage: reliht COMMAND [options]\n\nCommands:\n",
          file);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(file, "  %-9s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    fputs("  help      explain a command and its options: reliht help COMMAND\n"
          "  version   print the version\n\n"
          "Exit status: 0 success, 1 failure at run time, 2 wrong usage, 130 or 143 when ended\n"
          "by a signal.\n",
          file);
}

static int help(int argc, const char **argv)
{
    if (argc > 2) {
        fprintf(stderr, "reliht help: takes one command.\nSee `reliht help`.\n");
        return EXIT_USAGE;
    }
    if (argc < 2 || !strcmp(argv[1], "help") || !strcmp(argv[1], "version")) {
        print_overview(stdout);
        return EXIT_DONE;
    }
    const struct command *command = command_find(argv[1]);
    return command ? options_help(command) : unknown_command(argv[1]);
}

static int version(int argc, const char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "reliht version: '%s' is not expected here.\nSee `reliht help`.\n",
                argv[1]);
        return EXIT_USAGE;
    }
    printf("reliht %s\n", reliht_version());
    return EXIT_DONE;
}

static int run_command(const struct command *command, int argc, const char **argv)
{
    struct settings settings;
    bool wants_help;
    if (command->bit == SWEEP)
        return command_sweep(command, argc, argv);
    int status = options_parse(command, argc, argv, &settings, &wants_help);
    if (status == EXIT_DONE)
        status = wants_help ? options_help(command) : command->run(command, &settings);
    settings_release(&settings);
    return status;
}

static int dispatch(int argc, const char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(argc - 1, argv + 1);
    if (!strcmp(name, "version") || !strcmp(name, "--version"))
        return version(argc - 1, argv + 1);
    const struct command *command = command_find(name);
    return command ? run_command(command, argc - 1, argv + 1) : unknown_command(name);
}

/* ---------------------------------------------------------------- the program */

/* A standard stream that the caller closed would be the number of the next file opened, and the
 * result would be printed into it: put something there that refuses instead. */
static void occupy_standard_streams(void)
{
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++) {
        if (fcntl(stream, F_GETFD) == -1 && errno == EBADF &&
            open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) != stream)
            _exit(EXIT_FAILED);
    }
}

/* Idle threads of OpenMP and, when it is loaded, of OpenBLAS spin by default, which costs processor
 * time for nothing, the more on a machine that others use too. Both read the environment when they
 * are loaded, so the program starts itself again. (The benchmark asks OpenBLAS for its threads.) */
static void wait_passively(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") && getenv("OPENBLAS_NUM_THREADS"))
        return;
    if (!setenv("OMP_WAIT_POLICY", "passive", 0) && !setenv("OPENBLAS_NUM_THREADS", "1", 0))
        execv("/proc/self/exe", argv); /* returns if that is impossible: go on spinning */
}

int main(int argc, char **argv)
{
    wait_passively(argv);
    occupy_standard_streams();
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit is an error to report, as a full disk is */
    int status = dispatch(argc, (const char **)argv);
    bool lost = ferror(stdout) != 0;
    if (fclose(stdout))
        lost = true;
    if (lost && (status == EXIT_DONE || status >= 128))
        status = failure("standard output could not be written: %s", strerror(errno));
    return status;
}
