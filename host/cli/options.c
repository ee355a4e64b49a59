/* The table of options, their parsing (popt splits the words, the values are read strictly here)
 * and the help made from both. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <popt.h>
#include <stdlib.h>
#include <string.h>

typedef enum option_kind { FLAG, COUNT, REAL, TEXT, CHOICE, CLASSES, COUNTS } option_kind;

typedef enum option_group {
    GROUP_DATA,
    GROUP_NETWORK,
    GROUP_TRAINING,
    GROUP_OUTPUT,
    GROUP_PROGRAM,
    GROUPS
} option_group;

static const char *const GROUP_NAMES[GROUPS] = {
    "Data:", "Network:", "Solver:", "Files and output:", "Program:"};

struct option {
    const char *name;
    const char *argument; /* what help calls the value; NULL for a flag */
    option_group group;
    option_kind kind;
    size_t offset;           /* of the field in settings */
    double minimum, maximum; /* of a count or real */
    const char *choices;     /* words of a choice, separated by | */
    int commands;            /* bits */
    const char *unset;       /* what happens when it is not given and has no default */
    const char *help;
};

#define FIELD(name) offsetof(struct settings, name)
#define DIMENSION_MAXIMUM ((double)RELIHT_MAX_DIMENSION)
#define NETWORKS (TRAIN | PLANTED | INR)
#define RUNS (NETWORKS | SENSE)
#define APPLIES (EVAL | PREDICT)
#define ALL (RUNS | PRUNE | APPLIES | INFO | BENCH | SWEEP | CERTIFY)

/* clang-format off */
static const struct option OPTIONS[] = {
    /* ---- data */
    {"data", "NAME", GROUP_DATA, CHOICE, FIELD(data), 0, 0, "fashion-mnist|mnist|cifar10",
     TRAIN | PRUNE | APPLIES, "none: give this or --x",
     "The data set: fashion-mnist, mnist or cifar10"},
    {"data", "NAME", GROUP_DATA, CHOICE, FIELD(data), 0, 0, "fashion-mnist|mnist|cifar10", CERTIFY,
     "none: the inputs of --x, else drawn", "The data set: fashion-mnist, mnist or cifar10"},
    {"data-dir", "DIR", GROUP_DATA, TEXT, FIELD(data_dir), 0, 0, NULL, TRAIN | PRUNE | APPLIES | CERTIFY,
     "the Debian package's folder, then $RELIHT_DATA/NAME",
     "Folder that holds the files of --data"},
    {"x", "X.npy", GROUP_DATA, TEXT, FIELD(x), 0, 0, NULL, TRAIN | PRUNE | APPLIES | CERTIFY, "none",
     "Inputs [samples, inputs] instead of --data: float32, float64 or uint8"},
    {"y", "Y.npy", GROUP_DATA, TEXT, FIELD(y), 0, 0, NULL, TRAIN | PRUNE | EVAL, "none",
     "Targets of --x: integers [samples] are class labels, floats [samples] or "
     "[samples, outputs] are values"},
    {"x-test", "X.npy", GROUP_DATA, TEXT, FIELD(x_test), 0, 0, NULL, TRAIN | PRUNE, "none",
     "Inputs to test on after training with --x"},
    {"y-test", "Y.npy", GROUP_DATA, TEXT, FIELD(y_test), 0, 0, NULL, TRAIN | PRUNE, "none",
     "Targets of --x-test"},
    {"classes", "LIST", GROUP_DATA, CLASSES, FIELD(classes), 0, 4294967295.0, NULL,
     TRAIN | PRUNE | APPLIES | CERTIFY, "all",
     "Keep only these labels of --data, as in 0,1; two of them make a problem with one output "
     "and targets 0 and 1"},
    {"split", "NAME", GROUP_DATA, CHOICE, FIELD(split), 0, 0, "standard|paper", TRAIN | PRUNE | APPLIES | CERTIFY,
     NULL,
     "standard: the training and test parts as published with --data; paper: per class, in file "
     "order over both, the first 5000 for training and the next 1000 for testing"},
    {"part", "NAME", GROUP_DATA, CHOICE, FIELD(part), 0, 0, "test|train", APPLIES, NULL,
     "Which part of --data to use: test or train"},
    {"raw", NULL, GROUP_DATA, FLAG, FIELD(raw), 0, 0, NULL, TRAIN | PRUNE | APPLIES | CERTIFY, NULL,
     "Keep bytes as 0..255 instead of dividing them by 255"},
    {"train-limit", "N", GROUP_DATA, COUNT, FIELD(train_limit), 1, DIMENSION_MAXIMUM, NULL,
     TRAIN | PRUNE | APPLIES | CERTIFY, "all", "Use at most N training samples of --data, in file order"},
    {"test-limit", "N", GROUP_DATA, COUNT, FIELD(test_limit), 1, DIMENSION_MAXIMUM, NULL,
     TRAIN | PRUNE | APPLIES, "all", "Use at most N test samples of --data, in file order"},
    {"image", "FILE.png", GROUP_DATA, TEXT, FIELD(image), 0, 0, NULL, INR | PRUNE | APPLIES,
     "none", "The image, grey or RGB (eval and predict: of a model that inr has fitted)"},
    {"features", "N", GROUP_DATA, COUNT, FIELD(features), 2, DIMENSION_MAXIMUM, NULL, INR | PRUNE, NULL,
     "Random Fourier features of each pixel's coordinates; an even number"},
    {"sigma", "R", GROUP_DATA, REAL, FIELD(sigma), 0, 1e6, NULL, INR | PRUNE, NULL,
     "Standard deviation of the features' frequencies"},
    {"coordinates", "KIND", GROUP_DATA, CHOICE, FIELD(coordinates), 0, 0, "pixel|unit", INR | PRUNE, NULL,
     "pixel: whole numbers; unit: scaled to [0, 1)"},
    {"samples", "N", GROUP_DATA, COUNT, FIELD(samples), 1, DIMENSION_MAXIMUM, NULL,
     PLANTED | PRUNE | BENCH | CERTIFY, "a table of three shapes", "Number of samples"},
    {"inputs", "D", GROUP_DATA, COUNT, FIELD(inputs), 1, DIMENSION_MAXIMUM, NULL,
     PLANTED | PRUNE | BENCH | CERTIFY, "a table of three shapes", "Number of inputs"},
    {"outputs", "K", GROUP_DATA, COUNT, FIELD(outputs), 1, DIMENSION_MAXIMUM, NULL, PLANTED | PRUNE, NULL,
     "Number of outputs"},
    {"planted-hidden", "K", GROUP_DATA, COUNT, FIELD(planted_hidden), 1, DIMENSION_MAXIMUM, NULL,
     PLANTED, "as --hidden",
     "Neurons of the planted network, at most --hidden; with --convex the others get drawn "
     "generators"},
    {"planted-hidden", "K", GROUP_DATA, COUNT, FIELD(planted_hidden), 1, DIMENSION_MAXIMUM, NULL,
     PRUNE | CERTIFY, "as --hidden", "Neurons of the planted network"},
    {"planted-nnz", "S", GROUP_DATA, COUNT, FIELD(planted_nnz), 1, DIMENSION_MAXIMUM, NULL, PRUNE,
     "the largest of --nnz", "Weights of the planted network, over all layers"},
    {"disjoint", NULL, GROUP_DATA, FLAG, FIELD(disjoint), 0, 0, NULL, PLANTED | PRUNE | CERTIFY, NULL,
     "No input feeds two planted neurons"},
    {"magnitude-minimum", "R", GROUP_DATA, REAL, FIELD(magnitude_minimum), 0, 1e6, NULL, PLANTED | PRUNE | CERTIFY,
     NULL, "Planted weights are +-(R + |N(0,1)|); 0: N(0,1)"},
    {"noise", "SIGMA", GROUP_DATA, REAL, FIELD(noise), 0, 1e6, NULL, PLANTED | PRUNE, NULL,
     "Standard deviation of Gaussian noise on the planted network's outputs"},
    {"inputs-from", "X.npy", GROUP_DATA, TEXT, FIELD(inputs_from), 0, 0, NULL, PLANTED | PRUNE, "drawn",
     "Plant the network on these inputs [samples, inputs] instead of drawn ones"},
    {"inputs-draw", "KIND", GROUP_DATA, CHOICE, FIELD(inputs_draw), 0, 0,
     "gaussian|correlated|heavy|sparse", PLANTED | PRUNE | CERTIFY, NULL,
     "How inputs are drawn, always with mean 0 and variance 1: gaussian, the theory's assumption; "
     "correlated, Gaussian with neighbours correlated; heavy, Student's t with 3 degrees of "
     "freedom; sparse, mostly zeros, the rest Gaussian"},
    {"correlation", "RHO", GROUP_DATA, REAL, FIELD(correlation), -0.9999, 0.9999, NULL, PLANTED | PRUNE | CERTIFY,
     NULL, "Correlation of neighbouring inputs with --inputs-draw correlated"},
    {"density", "F", GROUP_DATA, REAL, FIELD(density), 1e-6, 1, NULL, PLANTED | PRUNE | CERTIFY, NULL,
     "Share of inputs that are not zero with --inputs-draw sparse"},
    {"directions", "N", GROUP_TRAINING, COUNT, FIELD(directions), 1, 1e6, NULL, CERTIFY, NULL,
     "Random directions of each sparsity"},
    {"searches", "N", GROUP_TRAINING, COUNT, FIELD(searches), 0, 1e6, NULL, CERTIFY, NULL,
     "Starts of each search for the worst direction"},
    {"length", "N", GROUP_DATA, COUNT, FIELD(length), 1, DIMENSION_MAXIMUM, NULL, SENSE, NULL,
     "Length of the vector to recover"},
    {"measurements", "N", GROUP_DATA, COUNT, FIELD(measurements), 1, DIMENSION_MAXIMUM, NULL,
     SENSE, NULL, "Number of Gaussian measurements of it"},
    /* ---- sweep */
    {"axes", "ROWS,COLUMNS", GROUP_DATA, TEXT, FIELD(axes), 0, 0, NULL, SWEEP, "hidden,nnz; sense: length,nnz",
     "The two options of the task that vary; each takes a list then, as --hidden and --nnz do"},
    {"hidden", "LIST", GROUP_DATA, TEXT, FIELD(axis_values), 0, 0, NULL, SWEEP, "none",
     "Values of the rows, as in 10,20,50 or 1-5"},
    {"nnz", "LIST", GROUP_DATA, TEXT, FIELD(axis_values), 0, 0, NULL, SWEEP, "none",
     "Values of the columns"},
    {"seeds", "LIST", GROUP_DATA, TEXT, FIELD(seeds), 0, 0, NULL, SWEEP, "0",
     "Seeds, as in 0-9"},
    {"method", "LIST", GROUP_DATA, TEXT, FIELD(methods), 0, 0, NULL, SWEEP, "aiht",
     "Methods to compare: aiht and recover, the solvers; prune, as `reliht prune` (one run serves "
     "a row of --nnz in train and inr)"},
    {"metric", "KEY", GROUP_OUTPUT, TEXT, FIELD(metric), 0, 0, NULL, SWEEP,
     "test_accuracy for classes, support_recall for sense, else psnr_db",
     "The number of the result that maps and results.npy show; recovered: 1 if the relative error "
     "of the weights is below 0.0001, else 0"},
    /* ---- network */
    {"hidden", "M", GROUP_NETWORK, COUNT, FIELD(hidden), 1, DIMENSION_MAXIMUM, NULL,
     NETWORKS | BENCH, "a table of three shapes", "Hidden neurons of each layer"},
    {"hidden", "M", GROUP_NETWORK, COUNT, FIELD(hidden), 1, DIMENSION_MAXIMUM, NULL, CERTIFY, NULL,
     "Patterns in all: those of the network, and drawn ones to make up this number"},
    {"hidden", "M", GROUP_NETWORK, COUNT, FIELD(hidden), 1, DIMENSION_MAXIMUM, NULL, PRUNE,
     "100; planted and inr: 10", "Hidden neurons of each layer"},
    {"nnz", "LIST", GROUP_NETWORK, COUNTS, FIELD(targets), 1, DIMENSION_MAXIMUM, NULL, PRUNE,
     "1000; planted: 50",
     "Weights to be left, over all layers; several, as in 50,200,1000, are served by one descent"},
    {"nnz", "S", GROUP_NETWORK, COUNT, FIELD(nnz), 1, DIMENSION_MAXIMUM, NULL, NETWORKS | BENCH, NULL,
     "At most this many weights are nonzero, over all layers"},
    {"nnz", "S", GROUP_DATA, COUNT, FIELD(nnz), 1, DIMENSION_MAXIMUM, NULL, SENSE, NULL,
     "Nonzeros of the vector; at most as many are recovered"},
    {"nnz", "S", GROUP_NETWORK, COUNT, FIELD(nnz), 1, DIMENSION_MAXIMUM, NULL, CERTIFY, NULL,
     "Weights of the planted network"},
    {"layers", "L", GROUP_NETWORK, COUNT, FIELD(layers), 1, 64, NULL, NETWORKS, NULL,
     "Hidden layers, trained one after the other with nnz/layers weights each"},
    {"layers", "L", GROUP_NETWORK, COUNT, FIELD(layers), 1, 64, NULL, PRUNE, NULL,
     "Hidden layers, trained together"},
    {"bias", NULL, GROUP_NETWORK, FLAG, FIELD(bias), 0, 0, NULL, NETWORKS | PRUNE, NULL,
     "Add a constant input to every layer; inr does so unless told --no-bias"},
    {"no-bias", NULL, GROUP_NETWORK, FLAG, FIELD(no_bias), 0, 0, NULL, INR | PRUNE, NULL,
     "No constant input, as published"},
    {"signs", "KIND", GROUP_NETWORK, CHOICE, FIELD(signs), 0, 0, "auto|plus|mixed", NETWORKS, NULL,
     "Output signs of the neurons (one output): plus, mixed (half of them subtract), or auto: "
     "plus if no target is negative, else mixed"},
    {"signs", "KIND", GROUP_NETWORK, CHOICE, FIELD(signs), 0, 0, "auto|plus|mixed", PRUNE, NULL,
     "planted: output signs of the planted neurons (one output), plus or mixed; auto: plus"},
    {"convex", NULL, GROUP_NETWORK, FLAG, FIELD(convex), 0, 0, NULL, NETWORKS, NULL,
     "Keep the generators fixed (one output): the setting of the recovery guarantee. In planted "
     "the planted neurons are given as generators"},
    {"generator", "KIND", GROUP_NETWORK, CHOICE, FIELD(generator), 0, 0, "gaussian|sparse",
     NETWORKS | BENCH | CERTIFY, "both",
     "Generators are drawn dense (gaussian, the published choice) or with 1 to 3 nonzeros "
     "(sparse)"},
    {"generators", "H.npy", GROUP_NETWORK, TEXT, FIELD(generators), 0, 0, NULL, NETWORKS,
     "drawn", "Generators [hidden, inputs] to start from"},
    /* ---- solver */
    {"solver", "NAME", GROUP_TRAINING, CHOICE, FIELD(solver), 0, 0, "auto|aiht|recover", NETWORKS, NULL,
     "aiht: the published algorithm; recover: grow, fit and cut back; auto: recover for several "
     "real-valued outputs and for three or more classes with up to 10 weights a class, else aiht"},
    {"solver", "NAME", GROUP_TRAINING, CHOICE, FIELD(solver), 0, 0, "auto|aiht", SENSE, NULL,
     "aiht: iterative hard thresholding, which is what auto takes"},
    {"epochs", "E", GROUP_TRAINING, COUNT, FIELD(epochs), 1, DIMENSION_MAXIMUM, NULL, NETWORKS, NULL,
     "Passes over the data; with --batch 0 an epoch is one step, with recover one round "
     "(one output: ten)"},
    {"epochs", "E", GROUP_TRAINING, COUNT, FIELD(epochs), 1, DIMENSION_MAXIMUM, NULL, SENSE, NULL,
     "Steps at most"},
    {"batch", "B", GROUP_TRAINING, COUNT, FIELD(batch), 0, DIMENSION_MAXIMUM, NULL, INR,
     "0, but 128 for a colour image with aiht", "Samples of a step; 0: all of them"},
    {"batch", "B", GROUP_TRAINING, COUNT, FIELD(batch), 0, DIMENSION_MAXIMUM, NULL, TRAIN | PLANTED,
     "500 with more than 20000 training samples, else 0",
     "Samples of a step; 0: all of them"},
    {"epochs", "E", GROUP_TRAINING, COUNT, FIELD(epochs), 1, DIMENSION_MAXIMUM, NULL, PRUNE,
     "10; inr: 100", "Passes over the data in each round"},
    {"epochs-final", "E", GROUP_TRAINING, COUNT, FIELD(epochs_final), 1, DIMENSION_MAXIMUM, NULL,
     PRUNE, "as --epochs", "Passes over the data on the mask of each target"},
    {"batch", "B", GROUP_TRAINING, COUNT, FIELD(batch), 0, DIMENSION_MAXIMUM, NULL, PRUNE,
     "128", "Samples of a step; 0: all of them"},
    {"prune-rate", "R", GROUP_TRAINING, REAL, FIELD(prune_rate), 0, 1000, NULL, PRUNE, NULL,
     "From 0.001 to below 1: the share of the remaining weights that a round removes; 0: all in "
     "one round; a whole number from 1: so many rounds of equal ratio. A round that would go below "
     "a target stops at it"},
    {"learning-rate", "R", GROUP_TRAINING, REAL, FIELD(learning_rate), 1e-9, 1e6, NULL, PRUNE, NULL,
     "Step size of Adam"},
    {"refits", "N", GROUP_TRAINING, COUNT, FIELD(refits), 0, 1e6, NULL, NETWORKS, NULL,
     "Steps on the new support alone after each step (one output)"},
    {"refits", "N", GROUP_TRAINING, COUNT, FIELD(refits), 0, 1e6, NULL, SENSE, NULL,
     "Steps on the new support alone after each step"},
    {"no-screening", NULL, GROUP_TRAINING, FLAG, FIELD(no_screening), 0, 0, NULL, NETWORKS, NULL,
     "Form the gradients of all neurons, also of those that can't get weights; for timings: the "
     "result is the same bit for bit (one output)"},
    {"loss", "NAME", GROUP_TRAINING, CHOICE, FIELD(loss), 0, 0, "auto|mse|cross-entropy",
     NETWORKS | PRUNE, NULL,
     "mse, cross-entropy, or auto: cross-entropy for three or more classes, else mse"},
    {"importance", "KIND", GROUP_TRAINING, CHOICE, FIELD(importance), 0, 0,
     "sketch|sketch-published|magnitude", NETWORKS, NULL,
     "What the choice of nonzeros goes by (several outputs): sketch, a count sketch of all "
     "updates; sketch-published, the same as published, neuron by neuron; magnitude, the weights "
     "themselves"},
    {"step", "KIND", GROUP_TRAINING, CHOICE, FIELD(step), 0, 0, "auto|published", NETWORKS, NULL,
     "Step size (several outputs): auto, from the data; published, the constants 0.001, 0.005 "
     "or 2"},
    {"validation", "F", GROUP_TRAINING, REAL, FIELD(validation), 0, 0.9, NULL, NETWORKS, NULL,
     "Share of the training data kept apart to choose the best epoch by; 0: none, the training "
     "loss decides"},
    {"validation", "F", GROUP_TRAINING, REAL, FIELD(validation), 0, 0.9, NULL, PRUNE, NULL,
     "Share of the training data kept apart to choose the best epoch on each target's mask by; 0: "
     "none, the last epoch stays"},
    {"return", "WHICH", GROUP_TRAINING, CHOICE, FIELD(returned), 0, 0, "best|last", NETWORKS, NULL,
     "The network of the best or of the last epoch"},
    {"tolerance", "R", GROUP_TRAINING, REAL, FIELD(tolerance), 0, 1, NULL, NETWORKS, NULL,
     "Stop when the relative residual or the relative change of the weights is at most R; 0: "
     "never"},
    {"tolerance", "R", GROUP_TRAINING, REAL, FIELD(tolerance), 0, 1, NULL, SENSE, NULL,
     "Stop when the relative residual is at most R; 0: never"},
    {"seed", "N", GROUP_TRAINING, COUNT, FIELD(seed), 0, 9223372036854775807.0, NULL,
     RUNS | PRUNE | CERTIFY, NULL, "Seed of everything that is drawn; the same seed gives the same result"},
    {"repeats", "N", GROUP_TRAINING, COUNT, FIELD(repeats), 1, 100000, NULL, BENCH, NULL,
     "Interleaved runs of each shape, of which the median counts"},
    /* ---- files and output */
    {"model", "FILE", GROUP_OUTPUT, TEXT, FIELD(model), 0, 0, NULL, NETWORKS | PRUNE | APPLIES | INFO | CERTIFY,
     "none", "The model, a safetensors file: written by train, planted, inr and prune (several targets: one file each, FILE-NNZ), read by eval, "
     "predict, info and certify"},
    {"log", "FILE.jsonl", GROUP_OUTPUT, TEXT, FIELD(log), 0, 0, NULL, RUNS | PRUNE, "none",
     "Write one JSON object per epoch"},
    {"out", "FILE", GROUP_OUTPUT, TEXT, FIELD(out), 0, 0, NULL, INR | PRUNE | PREDICT, "none",
     "inr: the fitted image as PNG; predict: the outputs as .npy (the image, if it ends in .png "
     "and the model is of inr); without it predict prints a line per sample"},
    {"out", "DIR", GROUP_OUTPUT, TEXT, FIELD(out), 0, 0, NULL, SWEEP, "none: needed",
     "Folder for results and figures, made if it is not there"},
    {"picture", "FILE.png", GROUP_OUTPUT, TEXT, FIELD(picture), 0, 0, NULL, TRAIN, "none",
     "Draw what was learned from image data: the templates of the classes (several outputs) and "
     "the weights of the strongest neurons; orange adds, blue subtracts"},
    {"picture", "FILE", GROUP_OUTPUT, TEXT, FIELD(picture), 0, 0, NULL, CERTIFY, "none",
     "Histograms of the eigenvalues found, .svg or .png, by gnuplot"},
    {"json", NULL, GROUP_OUTPUT, FLAG, FIELD(json), 0, 0, NULL, ALL, NULL,
     "Print the result as one JSON object, the last line of standard output"},
    {"quiet", NULL, GROUP_OUTPUT, FLAG, FIELD(quiet), 0, 0, NULL,
     RUNS | PRUNE | APPLIES | BENCH | SWEEP | CERTIFY, NULL,
     "No progress on standard error"},
    /* ---- program */
    {"jobs", "J", GROUP_PROGRAM, COUNT, FIELD(jobs), 1, 4096, NULL, SWEEP,
     "the processors this process may use", "Cells that run at the same time"},
    {"backend", "NAME", GROUP_PROGRAM, CHOICE, FIELD(backend), 0, 0, "auto|cpu|cuda",
     ALL & ~SWEEP, NULL,
     "Where to compute: cpu, cuda, or auto: a usable GPU if there is one, else the CPU"},
    {"threads", "T", GROUP_PROGRAM, COUNT, FIELD(threads), 0, 4096, NULL, ALL, NULL,
     "Threads; 0: all processors. Results do not depend on it (sweep: shared by the jobs)"},
};
/* clang-format on */
#define OPTION_COUNT (sizeof OPTIONS / sizeof OPTIONS[0])

enum { VALUE_HELP = 1, VALUE_FIRST = 1000 }; /* popt's numbers for --help and OPTIONS[0] */

/* ---------------------------------------------------------------- defaults */

static void settings_defaults(const struct command *command, struct settings *settings)
{
    memset(settings, 0, sizeof *settings);
    settings->batch = UNSET_COUNT;
    settings->train_limit = settings->test_limit = UNSET_COUNT;
    settings->samples = settings->inputs = settings->planted_hidden = UNSET_COUNT;
    settings->planted_nnz = settings->epochs_final = UNSET_COUNT;
    settings->data = settings->word = UNSET_CHOICE;
    command->defaults(settings);
}

void settings_release(struct settings *settings)
{
    for (size_t i = 0; i < settings->owned_count; i++)
        free(settings->owned[i]);
    settings->owned_count = 0;
}

/* ---------------------------------------------------------------- values */

/* Copies word number `index` of "a|b|c" into `word`; false after the last. */
static bool choice_at(const char *choices, int index, char word[32])
{
    for (; index > 0; index--) {
        choices = strchr(choices, '|');
        if (!choices)
            return false;
        choices++;
    }
    size_t length = strcspn(choices, "|");
    memcpy(word, choices, length);
    word[length] = 0;
    return true;
}

/* Digits alone, no sign or space (strtoull would take "-1" and " 1"). */
static bool read_count(const char *text, double minimum, double maximum, uint64_t *value)
{
    if (!*text || text[strspn(text, "0123456789")])
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (errno || (double)number < minimum || (double)number > maximum || number > INT64_MAX)
        return false;
    *value = number;
    return true;
}

static bool read_real(const char *text, double minimum, double maximum, double *value)
{
    char *end;
    if (!strchr("+-.0123456789", *text) || !*text)
        return false;
    errno = 0;
    double number = strtod(text, &end);
    if (*end || errno || !isfinite(number) || number < minimum || number > maximum)
        return false;
    *value = number;
    return true;
}

static bool read_choice(const char *text, const char *choices, int *value)
{
    char word[32];
    for (int i = 0; choice_at(choices, i, word); i++) {
        if (!strcmp(word, text)) {
            *value = i;
            return true;
        }
    }
    return false;
}

/* "3,5,8": at least `least` numbers without repetition. */
static bool read_list(const char *text, size_t least, double minimum, double maximum,
                      number_list *list)
{
    list->count = 0;
    while (true) {
        char digits[11];
        size_t length = strcspn(text, ",");
        uint64_t value;
        if (length >= sizeof digits || list->count == LIST_MAXIMUM)
            return false;
        memcpy(digits, text, length);
        digits[length] = 0;
        if (!read_count(digits, minimum, maximum, &value))
            return false;
        for (size_t i = 0; i < list->count; i++) {
            if (list->values[i] == value)
                return false;
        }
        list->values[list->count++] = (uint32_t)value;
        if (!text[length])
            return list->count >= least;
        text += length + 1;
    }
}

static bool read_value(const struct option *option, const char *text, struct settings *settings)
{
    void *field = (char *)settings + option->offset;
    switch (option->kind) {
    case FLAG:
        *(bool *)field = true;
        return true;
    case COUNT:
        return read_count(text, option->minimum, option->maximum, field);
    case REAL:
        return read_real(text, option->minimum, option->maximum, field);
    case CHOICE:
        return read_choice(text, option->choices, field);
    case CLASSES:
        return read_list(text, 2, option->minimum, option->maximum, field);
    case COUNTS:
        return read_list(text, 1, option->minimum, option->maximum, field);
    case TEXT:
        *(const char **)field = text;
        return *text != 0;
    }
    return false;
}

/* What would have been right, "a whole number from 1 to 64". */
static const char *allowed(const struct option *option, char *text, size_t bytes)
{
    switch (option->kind) {
    case COUNT:
        snprintf(text, bytes, "a whole number from %.0f to %llu", option->minimum,
                 option->maximum < 0x1p63 ? (unsigned long long)option->maximum : INT64_MAX);
        break;
    case REAL:
        snprintf(text, bytes, "a number from %g to %g", option->minimum, option->maximum);
        break;
    case CHOICE: {
        size_t length = 0;
        char word[32];
        for (int i = 0; choice_at(option->choices, i, word) && length < bytes; i++)
            length +=
                (size_t)snprintf(text + length, bytes - length, "%s%s", i ? ", " : "one of ", word);
        break;
    }
    case CLASSES:
        snprintf(text, bytes, "two or more different labels separated by commas, as in 0,1");
        break;
    case COUNTS:
        snprintf(text, bytes, "different whole numbers from %.0f to %.0f separated by commas",
                 option->minimum, option->maximum);
        break;
    default:
        snprintf(text, bytes, "a name that is not empty");
    }
    return text;
}

static const struct option *find_option(const struct command *command, const char *name,
                                        size_t length)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (OPTIONS[i].commands & command->bit && strlen(OPTIONS[i].name) == length &&
            !strncmp(OPTIONS[i].name, name, length))
            return &OPTIONS[i];
    }
    return NULL;
}

bool options_known(const struct command *command, const char *name, size_t length)
{
    return find_option(command, name, length) != NULL;
}

bool options_counted(const struct command *command, const char *name, size_t length)
{
    const struct option *option = find_option(command, name, length);
    return option && option->kind == COUNT;
}

/* ---------------------------------------------------------------- popt */

/* The command's options as popt tables, one per group, and one that includes them all. */
typedef struct popt_tables {
    struct poptOption groups[GROUPS][OPTION_COUNT + 2];
    struct poptOption all[GROUPS + 1];
    char *texts[OPTION_COUNT];
    size_t text_count;
} popt_tables;

/* What eval and predict take from the model's metadata unless it is given. */
static bool taken_from_model(const struct option *option)
{
    return option->offset == FIELD(data) || option->offset == FIELD(classes) ||
           option->offset == FIELD(split) || option->offset == FIELD(raw);
}

/* The default of an option as help shows it. */
static void default_text(const struct command *command, const struct option *option,
                         const struct settings *settings, char *text, size_t bytes)
{
    const void *field = (const char *)settings + option->offset;
    const char *unset = option->unset ? option->unset : "none";
    char word[32];
    if (command->bit & APPLIES && taken_from_model(option)) {
        snprintf(text, bytes, "the model's");
        return;
    }
    snprintf(text, bytes, "%s", unset);
    switch (option->kind) {
    case FLAG:
        snprintf(text, bytes, *(const bool *)field ? "on" : "off");
        break;
    case COUNT:
        if (*(const uint64_t *)field != UNSET_COUNT)
            snprintf(text, bytes, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case REAL:
        snprintf(text, bytes, "%g", *(const double *)field);
        break;
    case CHOICE:
        if (*(const int *)field != UNSET_CHOICE) {
            choice_at(option->choices, *(const int *)field, word);
            snprintf(text, bytes, "%s", word);
        }
        break;
    case TEXT:
    case CLASSES:
    case COUNTS:
        break;
    }
}

static void tables_free(popt_tables *tables)
{
    if (!tables)
        return;
    for (size_t i = 0; i < tables->text_count; i++)
        free(tables->texts[i]);
    free(tables);
}

static popt_tables *tables_make(const struct command *command)
{
    popt_tables *tables = calloc(1, sizeof *tables);
    size_t counts[GROUPS] = {0};
    struct settings defaults;
    if (!tables)
        return NULL;
    settings_defaults(command, &defaults);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &OPTIONS[i];
        char shown[128], *text;
        if (!(option->commands & command->bit))
            continue;
        default_text(command, option, &defaults, shown, sizeof shown);
        if (asprintf(&text, "%s (default: %s)", option->help, shown) < 0) {
            tables_free(tables);
            return NULL;
        }
        tables->texts[tables->text_count++] = text;
        struct poptOption *row = &tables->groups[option->group][counts[option->group]++];
        row->longName = option->name;
        row->argInfo = option->kind == FLAG ? POPT_ARG_NONE : POPT_ARG_STRING;
        if (command->bit == INFO && option->offset == FIELD(backend))
            row->argInfo |= POPT_ARGFLAG_OPTIONAL; /* a bare --backend asks which it is */
        row->val = VALUE_FIRST + (int)i;
        row->descrip = text;
        row->argDescrip = option->argument;
    }
    tables->groups[GROUP_PROGRAM][counts[GROUP_PROGRAM]] = (struct poptOption){
        "help", 'h', POPT_ARG_NONE, NULL, VALUE_HELP, "Print this and end", NULL};
    for (size_t group = 0, used = 0; group < GROUPS; group++) {
        if (tables->groups[group][0].longName)
            tables->all[used++] = (struct poptOption){
                NULL, 0, POPT_ARG_INCLUDE_TABLE, tables->groups[group], 0, GROUP_NAMES[group],
                NULL};
    }
    return tables;
}

/* Reads the value of the option that popt found last. */
static int take_value(const struct command *command, poptContext context,
                      const struct option *option, struct settings *settings)
{
    char right[160];
    char *text = poptGetOptArg(context);
    bool bare = !text && option->kind != FLAG;
    if (text && settings->owned_count == OPTIONS_MAXIMUM) {
        free(text);
        return usage_error(command, "more than %u options", OPTIONS_MAXIMUM);
    }
    if (text)
        settings->owned[settings->owned_count++] = text;
    if (bare || read_value(option, text, settings))
        return EXIT_DONE;
    return usage_error(command, "--%s: '%s' is not %s", option->name, text,
                       allowed(option, right, sizeof right));
}

/* What popt refused; `name` as it was given, "--json=yes". */
static int option_error(const struct command *command, int error, const char *name)
{
    int length = (int)strcspn(name, "=");
    switch (error) {
    case POPT_ERROR_BADOPT:
        return usage_error(command, "there is no option %.*s", length, name);
    case POPT_ERROR_NOARG:
        return usage_error(command, "%s needs a value", name);
    case POPT_ERROR_UNWANTEDARG:
        return usage_error(command, "%.*s takes no value", length, name);
    default:
        return usage_error(command, "%s: %s", name, poptStrerror(error));
    }
}

/* The words a command takes, as in "'train' or 'planted'". */
static const char *words_text(const struct command *command, char *text, size_t bytes)
{
    char word[32];
    size_t length = 0;
    for (int i = 0; choice_at(command->word, i, word) && length < bytes; i++)
        length += (size_t)snprintf(text + length, bytes - length, "%s'%s'", i ? " or " : "", word);
    return text;
}

static int take_words(const struct command *command, poptContext context, struct settings *settings)
{
    char words[128];
    bool taken = false;
    for (const char *word; (word = poptGetArg(context)); taken = true) {
        if (!command->word || taken)
            return usage_error(command, "'%s' is not expected here; options begin with --", word);
        if (!read_choice(word, command->word, &settings->word))
            return usage_error(command, "'%s' is unknown, there is %s", word,
                               words_text(command, words, sizeof words));
    }
    return EXIT_DONE;
}

/* Options of other tasks than the one that prune is given. */
static int check_task(const struct command *command, const struct settings *settings,
                      const struct option *const given[], size_t count)
{
    static const int bits[] = {TRAIN, PLANTED, INR};
    char task[32];
    if (command->bit != PRUNE)
        return EXIT_DONE;
    int word = settings->word == UNSET_CHOICE ? 0 : settings->word;
    choice_at(command->word, word, task);
    for (size_t i = 0; i < count; i++) {
        int tasks = given[i]->commands & NETWORKS;
        if (tasks && !(tasks & bits[word]))
            return usage_error(command, "--%s is not for the task %s", given[i]->name, task);
    }
    return EXIT_DONE;
}

/* What has no effect beside an option that is given. */
static const struct exclusion {
    int commands; /* bits */
    const char *option;
    const char *others; /* separated by | */
} EXCLUSIONS[] = {
    {APPLIES, "image", "data|data-dir|x|y|classes|split|part|raw|train-limit|test-limit"},
    {APPLIES, "x", "part"},
    {PLANTED | PRUNE, "inputs-from", "samples|inputs|inputs-draw|correlation|density"},
    {CERTIFY, "x", "samples|inputs|inputs-draw|correlation|density"},
    {CERTIFY, "data", "samples|inputs|inputs-draw|correlation|density"},
    {CERTIFY, "model", "inputs|planted-hidden|nnz|disjoint|magnitude-minimum"},
    {INR | PRUNE, "no-bias", "bias"},
};

static int check_exclusions(const struct command *command, const struct option *const given[],
                            size_t count)
{
    for (size_t rule = 0; rule < sizeof EXCLUSIONS / sizeof EXCLUSIONS[0]; rule++) {
        const char *option = EXCLUSIONS[rule].option, *other = NULL;
        bool there = false;
        int place;
        if (!(EXCLUSIONS[rule].commands & command->bit))
            continue;
        for (size_t i = 0; i < count; i++) {
            there = there || !strcmp(given[i]->name, option);
            if (read_choice(given[i]->name, EXCLUSIONS[rule].others, &place))
                other = given[i]->name;
        }
        if (there && other)
            return usage_error(command, "--%s has no effect beside --%s", other, option);
    }
    return EXIT_DONE;
}

/* What an option has no effect without and that isn't there; NULL if it is. */
static const char *lacking(const struct command *command, const struct option *option,
                           const struct settings *settings)
{
    const size_t field = option->offset;
    const bool limits_train = field == FIELD(train_limit), limits_test = field == FIELD(test_limit);
    if (field == FIELD(correlation) && settings->inputs_draw != RELIHT_DRAW_CORRELATED)
        return "inputs-draw correlated";
    if (field == FIELD(density) && settings->inputs_draw != RELIHT_DRAW_SPARSE)
        return "inputs-draw sparse";
    if (command->bit & APPLIES && !settings->x && limits_train && settings->part != 1)
        return "part train";
    if (command->bit & APPLIES && !settings->x && limits_test && settings->part == 1)
        return "part test";
    bool of_data = limits_train || field == FIELD(data_dir) || field == FIELD(classes) ||
                   field == FIELD(split) || (field == FIELD(raw) && !settings->x);
    return command->bit == CERTIFY && settings->data == UNSET_CHOICE && of_data ? "data" : NULL;
}

static int check_lacking(const struct command *command, const struct settings *settings,
                         const struct option *const given[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *other = lacking(command, given[i], settings);
        if (other)
            return usage_error(command, "--%s has no effect without --%s", given[i]->name, other);
    }
    return EXIT_DONE;
}

int options_parse(const struct command *command, int argc, const char **argv,
                  struct settings *settings, bool *help)
{
    const struct option *given[OPTIONS_MAXIMUM];
    size_t count = 0;
    int status = EXIT_DONE, value;
    *help = false;
    settings_defaults(command, settings);
    popt_tables *tables = tables_make(command);
    poptContext context =
        tables ? poptGetContext(command->name, argc, argv, tables->all, POPT_CONTEXT_NO_EXEC)
               : NULL;
    if (!context) {
        status = failure("out of memory while reading the options");
        goto done;
    }
    while ((value = poptGetNextOpt(context)) >= 0) {
        if (value == VALUE_HELP) {
            *help = true;
            goto done;
        }
        if (value >= VALUE_FIRST) {
            status = take_value(command, context, &OPTIONS[value - VALUE_FIRST], settings);
            if (count < OPTIONS_MAXIMUM)
                given[count++] = &OPTIONS[value - VALUE_FIRST];
        }
        if (status != EXIT_DONE)
            goto done;
    }
    if (value < -1) {
        status = option_error(command, value, poptBadOption(context, POPT_BADOPTION_NOALIAS));
        goto done;
    }
    status = take_words(command, context, settings);
    if (status == EXIT_DONE)
        status = check_task(command, settings, given, count);
    if (status == EXIT_DONE)
        status = check_exclusions(command, given, count);
    if (status == EXIT_DONE)
        status = check_lacking(command, settings, given, count);
done:
    poptFreeContext(context);
    tables_free(tables);
    return status;
}

int options_help(const struct command *command)
{
    char name[64];
    const char *arguments[] = {name, NULL};
    const char *word = command->word ? command->word : "";
    snprintf(name, sizeof name, strchr(word, '|') ? "reliht %s [%s]" : "reliht %s %s",
             command->name, word);
    popt_tables *tables = tables_make(command);
    poptContext context =
        tables ? poptGetContext(name, 1, arguments, tables->all, POPT_CONTEXT_NO_EXEC) : NULL;
    if (!context) {
        tables_free(tables);
        return failure("out of memory while printing help");
    }
    printf("reliht %s: %s\n\n%s\n\n", command->name, command->summary, command->description);
    poptPrintHelp(context, stdout, 0);
    printf("\nExample:\n%s\n", command->example);
    poptFreeContext(context);
    tables_free(tables);
    return EXIT_DONE;
}
