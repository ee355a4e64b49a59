/* reliht: sparse ReLU networks trained from scratch by iterative hard thresholding.
 *
 * A network with `hidden * inputs` possible weights, of which at most `nnz` are ever nonzero, is
 * trained in memory that grows with `nnz`. The method is that of Fridovich-Keil & Pilanci,
 * "A Recovery Guarantee for Sparse Neural Networks" (arXiv 2509.20323).
 *
 * Conventions
 *  - Every call that can fail returns a reliht_status; RELIHT_OK is zero. On failure the sentence
 *    that explains it is kept in the context: reliht_context_message().
 *  - Handles are opaque and are released with their own _destroy call, which accepts NULL. A handle
 *    belongs to the context it was made with and must be destroyed before it.
 *  - One context serves one thread at a time; contexts share nothing, so several threads may each
 *    use their own. The library never prints, never exits and holds no global state.
 *  - Output handles are written only on success (RELIHT_CANCELLED counts as success where noted);
 *    on failure they are set to NULL.
 *  - Matrices handed over by pointer are row-major float32, [rows, columns]. `samples` n, `inputs`
 *    d, `hidden` m, `outputs` k and `nnz` s are counts, each below 2^31 (RELIHT_MAX_DIMENSION).
 *  - Options structs are filled by their _default call and then changed field by field.
 */
#ifndef RELIHT_RELIHT_H
#define RELIHT_RELIHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif
#ifdef __cplusplus
extern "C" {
#endif

#define RELIHT_VERSION_MAJOR 0
#define RELIHT_VERSION_MINOR 1
#define RELIHT_VERSION_PATCH 0
#define RELIHT_VERSION_STRING "0.1.0"

/* Largest value of any single dimension (samples, inputs, hidden, outputs, nnz). */
#define RELIHT_MAX_DIMENSION 2147483647u

/* ---------------------------------------------------------------- status */

/* name, text. The one list from which the codes and their texts are made. */
#define RELIHT_STATUS_LIST(X)                   \
    X(OK, "success")                            \
    X(ARGUMENT, "invalid argument")             \
    X(MEMORY, "out of memory")                  \
    X(IO, "input or output failed")             \
    X(FORMAT, "malformed file")                 \
    X(DATA, "unusable data")                    \
    X(NUMERIC, "numerical failure")             \
    X(BACKEND, "backend unavailable or failed") \
    X(CANCELLED, "cancelled by the caller")     \
    X(UNSUPPORTED, "not supported")

typedef enum reliht_status {
#define RELIHT_STATUS_ENUM(name, text) RELIHT_##name,
    RELIHT_STATUS_LIST(RELIHT_STATUS_ENUM)
#undef RELIHT_STATUS_ENUM
} reliht_status;

/* Short text of a status ("out of memory"); never NULL. */
const char *reliht_status_text(reliht_status status);

/* "0.1.0", the version the library was built as. */
const char *reliht_version(void);

/* ---------------------------------------------------------------- context */

typedef struct reliht_context reliht_context;

typedef enum reliht_backend_kind {
    RELIHT_BACKEND_AUTO, /* a usable GPU if the library has that backend, else the CPU */
    RELIHT_BACKEND_CPU,
    RELIHT_BACKEND_CUDA,
} reliht_backend_kind;

/* Where all memory of the library comes from. `allocate` returns `bytes` bytes aligned to 64, or
 * NULL; `release` takes back what it gave. Both must be callable from the thread that uses the
 * context. */
typedef struct reliht_allocator {
    void *(*allocate)(void *user, size_t bytes);
    void (*release)(void *user, void *pointer);
    void *user;
} reliht_allocator;

typedef struct reliht_context_options {
    reliht_backend_kind backend; /* default: auto */
    uint32_t threads;            /* default 0: all processors this process may use */
    reliht_allocator allocator;  /* default: all NULL, the C library's */
} reliht_context_options;

void reliht_context_options_default(reliht_context_options *options);

/* Makes a context. `options` may be NULL for the defaults. Errors: ARGUMENT, MEMORY, BACKEND. When
 * it fails there is no context to ask, so the explanation is copied to `message` (may be NULL) of
 * `message_bytes` bytes. */
reliht_status reliht_context_create(const reliht_context_options *options, reliht_context **context,
                                    char *message, size_t message_bytes);
void reliht_context_destroy(reliht_context *context);

/* The sentence that explains the last failed call; "" if none failed. Valid until the next call. */
const char *reliht_context_message(const reliht_context *context);

/* "cpu" or "cuda": the backend in use, and its details ("cpu (avx512, 2 threads)"). */
const char *reliht_context_backend(const reliht_context *context);
const char *reliht_context_backend_details(const reliht_context *context);

/* A GPU of this machine. */
typedef struct reliht_device {
    char name[64];
    uint64_t memory_bytes;
    uint32_t processors;   /* streaming multiprocessors */
    uint32_t major, minor; /* compute capability */
} reliht_device;

/* Lists the GPUs that the CUDA backend sees, usable or not: the first `capacity` of them into
 * `devices` [capacity], their number into *count; 0 where there is no CUDA backend, driver or GPU.
 * The CUDA backend computes on the first one (CUDA_VISIBLE_DEVICES chooses another). */
void reliht_devices(reliht_device *devices, size_t capacity, size_t *count);

/* Bytes held now and at most since the context was made (or the peaks were reset), by purpose. */
#define RELIHT_MEMORY_LIST(X)                                                                    \
    X(data)       /* inputs, targets, batches */                                                 \
    X(weights)    /* nonzero weights and their gradients, generators that were given */          \
    X(patterns)   /* activation bits: of one tile of neurons, and of the neurons with weights */ \
    X(candidates) /* entries waiting in the top-s selector */                                    \
    X(importance) /* count sketch */                                                             \
    X(screening)  /* bounds that let neurons be skipped */                                       \
    X(workspace)  /* everything else */

typedef struct reliht_memory {
#define RELIHT_MEMORY_FIELD(name) uint64_t name;
    RELIHT_MEMORY_LIST(RELIHT_MEMORY_FIELD)
#undef RELIHT_MEMORY_FIELD
    uint64_t total;
} reliht_memory;

void reliht_context_memory(const reliht_context *context, reliht_memory *current,
                           reliht_memory *peak);
/* The same for the memory of the GPU; all zero on the CPU backend. */
void reliht_context_device_memory(const reliht_context *context, reliht_memory *current,
                                  reliht_memory *peak);
/* Peaks start again from what is held now, on the host and on the GPU. */
void reliht_context_memory_reset_peak(reliht_context *context);

/* ---------------------------------------------------------------- data sets */

/* Inputs [samples, inputs] with targets: either real values [samples, outputs] or class labels. */
typedef struct reliht_dataset reliht_dataset;

void reliht_dataset_destroy(reliht_dataset *dataset);
size_t reliht_dataset_samples(const reliht_dataset *dataset);
size_t reliht_dataset_inputs(const reliht_dataset *dataset);  /* without the bias input */
size_t reliht_dataset_outputs(const reliht_dataset *dataset); /* 1: scalar; classes for labels */
size_t reliht_dataset_classes(const reliht_dataset *dataset); /* 0: real targets; 2 may be scalar */
float reliht_dataset_target_maximum(const reliht_dataset *dataset); /* max |y|, for the PSNR */
float reliht_dataset_target_minimum(const reliht_dataset *dataset); /* min y */

/* Copies x [samples, inputs] and y [samples, outputs]. Non-finite values are an error (DATA) that
 * names row and column. Errors: ARGUMENT, DATA, MEMORY. */
reliht_status reliht_dataset_from_arrays(reliht_context *context, size_t samples, size_t inputs,
                                         const float *x, size_t outputs, const float *y,
                                         reliht_dataset **dataset);

/* Copies x and labels [samples], each in [0, classes). With two classes the targets are the scalars
 * 0 and 1; with more, one output per class. Errors: ARGUMENT, DATA, MEMORY. */
reliht_status reliht_dataset_from_labels(reliht_context *context, size_t samples, size_t inputs,
                                         const float *x, const int32_t *labels, size_t classes,
                                         reliht_dataset **dataset);

/* Reads x ([n,d], or [n,...] flattened) and y from .npy files (float32, float64, uint8; int32 and
 * int64 too for y). Integer y [n] are class labels (0 to 65535; of two classes if there are only 0
 * and 1, or one of them), float y [n] or [n,k] real targets.
 * uint8 x are divided by 255 unless `raw`; x [n] is one input. `y_path` may be NULL (targets zero;
 * for prediction). Errors: IO, FORMAT (file and offset), UNSUPPORTED (another type or byte order),
 * DATA (non-finite; row and column), MEMORY. */
reliht_status reliht_dataset_read_npy(reliht_context *context, const char *x_path,
                                      const char *y_path, bool raw, reliht_dataset **dataset);

/* Writes values [rows, columns] as a float32 .npy file, as reliht_model_write writes files.
 * Errors: ARGUMENT, IO, MEMORY. */
reliht_status reliht_npy_write(reliht_context *context, const char *path, size_t rows,
                               size_t columns, const float *values);

/* One of the data sets the project knows: "mnist", "fashion-mnist", "cifar10". */
typedef struct reliht_named_options {
    const char *name;
    const char *directory;   /* NULL: the Debian package's folder, then $RELIHT_DATA (/name) */
    const uint32_t *classes; /* keep only these labels, renumbered 0, 1, ... in this order */
    size_t class_count;      /* 0: all; 2 kept make a scalar problem with targets 0 and 1 */
    bool paper_split;        /* per class, in file order over train then test: 5000, then 1000 */
    bool raw;                /* keep 0..255; otherwise divided by 255 */
    size_t train_limit;      /* 0: all; else at most so many training samples, in file order */
    size_t test_limit;
} reliht_named_options;

void reliht_named_options_default(reliht_named_options *options);

/* Reads both parts of a named data set; either output may be NULL if it isn't wanted.
 * Errors: ARGUMENT (unknown name or class), IO (where it was looked for and how to get it), FORMAT,
 * MEMORY. */
reliht_status reliht_dataset_read_named(reliht_context *context,
                                        const reliht_named_options *options, reliht_dataset **train,
                                        reliht_dataset **test);

/* ---------------------------------------------------------------- models */

/* A sparse ReLU network: per hidden layer a sparse matrix by neuron, and an output that is either
 * a fixed sign per neuron (fused, one output) or sparse output weights [hidden, outputs]
 * (factored). Prediction: e_0 = x, e_l = relu(e_(l-1) W_l^T), y = sum_j sign_j e_L,j or e_L V. */
typedef struct reliht_model reliht_model;

typedef enum reliht_model_kind { RELIHT_FUSED, RELIHT_FACTORED } reliht_model_kind;
typedef enum reliht_signs {
    RELIHT_SIGNS_AUTO,  /* plus if no target is negative, else mixed */
    RELIHT_SIGNS_PLUS,  /* every neuron adds: the paper's setting */
    RELIHT_SIGNS_MIXED, /* neurons with an even number add, the odd ones subtract */
} reliht_signs;

void reliht_model_destroy(reliht_model *model);
reliht_model_kind reliht_model_get_kind(const reliht_model *model);
reliht_signs reliht_model_signs(const reliht_model *model); /* plus or mixed; fused only */
size_t reliht_model_layers(const reliht_model *model);
size_t reliht_model_inputs(const reliht_model *model); /* without the bias input */
size_t reliht_model_outputs(const reliht_model *model);
bool reliht_model_bias(const reliht_model *model); /* a constant input 1 ends every layer's input */
size_t reliht_model_hidden(const reliht_model *model, size_t layer);
size_t reliht_model_nnz(const reliht_model *model); /* all nonzeros, output weights included */
double reliht_model_dense_bytes(const reliht_model *model); /* float32 weights of the dense twin */

/* The weights of hidden layer `layer`, or of the output for `layer` == layers (factored only), as
 * triplets sorted by (neuron, column). `nnz` is set to their number; the arrays, each of room for
 * `capacity`, may be NULL to ask only for that. Errors: ARGUMENT. */
reliht_status reliht_model_weights(const reliht_model *model, size_t layer, size_t capacity,
                                   uint32_t *neuron, uint32_t *column, float *value, size_t *nnz);

/* Safetensors files; README.md says what they hold. Writing goes through a temporary file beside
 * `path`, so an existing file is replaced whole or left alone; a path that exists and is no regular
 * file is refused. Errors: ARGUMENT, IO, FORMAT (file and offset), MEMORY. */
reliht_status reliht_model_write(reliht_context *context, const reliht_model *model,
                                 const char *path);
reliht_status reliht_model_read(reliht_context *context, const char *path, reliht_model **model);

/* Checks that a model could be written to `path`: its folder exists and is writable, and what is
 * there now, if anything, is a regular file. Changes nothing. Errors: IO. */
reliht_status reliht_model_check_path(reliht_context *context, const char *path);

/* The model's metadata (solver, seed, data preprocessing, ...) as one JSON object; owned by the
 * model. */
const char *reliht_model_metadata(const reliht_model *model);

/* y [samples, outputs] <- the network's outputs. Errors: ARGUMENT (inputs differ), MEMORY. */
reliht_status reliht_model_predict(reliht_context *context, const reliht_model *model,
                                   const reliht_dataset *dataset, float *y);

typedef struct reliht_evaluation {
    double mse;      /* mean over samples and outputs of (yhat - y)^2 */
    double psnr_db;  /* 20 log10(max|y|) - 10 log10(mse), mse taken as at least
                        (2^-53 max|y|)^2: at most 319.1 dB, which is equality bit for bit */
    double loss;     /* cross-entropy if the model was trained with it, else mse */
    double accuracy; /* fraction of right classes (argmax, or threshold 0.5); NaN without labels */
} reliht_evaluation;

/* Scores the model on data of its shape; of class labels the highest may be missing.
 * Errors: ARGUMENT (shapes differ), MEMORY. */
reliht_status reliht_model_evaluate(reliht_context *context, const reliht_model *model,
                                    const reliht_dataset *dataset, reliht_evaluation *evaluation);

/* How much of `planted` is in `model`, neurons compared by their numbers: support_recall =
 * |S and S*| / |S*|, weight_rel_error = |w - w*| / |w*|. The shapes must be the same, but the model
 * may have further neurons, whose weights are errors. Errors: ARGUMENT. */
reliht_status reliht_model_compare(reliht_context *context, const reliht_model *planted,
                                   const reliht_model *model, double *support_recall,
                                   double *weight_rel_error);

/* ---- how much of a planted network was found. For the data, neurons of one output sign with equal
 * patterns are one neuron whose weights are the sum of theirs, a neuron that is never active is
 * none, and the numbers of neurons mean nothing. So both networks are reduced first: neurons
 * without an active sample are dropped, those with equal patterns on the data and equal sign are
 * added up, and parallel ones of opposite sign are subtracted. docs/certify.md has the details. */

typedef struct reliht_recovery {
    /* NaN for an empty S*, of a planted network that is active on no sample */
    double support_recall;    /* |S and S*| / |S*| of the reduced networks, neurons paired */
    double support_precision; /* |S and S*| / |S|; 1 for an empty S */
    double weight_rel_error;  /* |w - w*| / |w*| */
    size_t planted_neurons;   /* of the reduced networks */
    size_t found_neurons;
    size_t matched_neurons; /* pairs */
} reliht_recovery;

/* Compares after the best pairing of neurons: the one of least total squared distance of weights, a
 * neuron without a partner compared with zero. Both models have one layer and are fused, or
 * factored with the same outputs, for the inputs of `dataset`; the one found may have a bias input.
 * Factored neurons are compared with both sides scaled to equal length. Errors: ARGUMENT, MEMORY.
 */
reliht_status reliht_model_recovery(reliht_context *context, const reliht_model *planted,
                                    const reliht_model *model, const reliht_dataset *dataset,
                                    reliht_recovery *recovery);

/* Whether the data determine the weights of a fused network of one layer: conditions that are
 * necessary, checked on the reduced network with its own patterns and support S. */
typedef struct reliht_identifiability {
    bool identifiable;    /* all neurons are active somewhere, there are at least as many samples
                             as weights, and the columns A_S are independent in single precision:
                             smallest_eigenvalue > 1e-7 largest_eigenvalue */
    size_t neurons;       /* with weights */
    size_t distinct;      /* of the reduced network; fewer than `neurons` - `inactive`: some were
                             added up, and only their sum is determined */
    size_t inactive;      /* active on no sample: nothing of them is determined */
    size_t always_active; /* reduced neurons that are linear on the data */
    size_t weights;       /* of the reduced network */
    double smallest_eigenvalue; /* of A_S^T A_S / samples: an upper bound of it, and */
    double largest_eigenvalue;  /* a lower bound, both exact for up to 128 weights (fewer with
                                   more than 120000 samples) */
} reliht_identifiability;

/* Errors: ARGUMENT, MEMORY. */
reliht_status reliht_model_identifiability(reliht_context *context, const reliht_model *model,
                                           const reliht_dataset *dataset,
                                           reliht_identifiability *identifiability);

/* What one could know at best from noisy targets: least squares on the support and with the
 * patterns of the reduced planted network. */
typedef struct reliht_oracle {
    double weight_rel_error; /* |w - w*| / |w*| */
    double psnr_db;          /* of its outputs, as in reliht_evaluation */
} reliht_oracle;

/* `dataset` has one output. Errors: ARGUMENT, MEMORY. */
reliht_status reliht_model_oracle(reliht_context *context, const reliht_model *planted,
                                  const reliht_dataset *dataset, reliht_oracle *oracle);

/* ---------------------------------------------------------------- planted networks and images */

/* How the inputs of a planted problem are drawn; all have mean 0 and variance 1. */
typedef enum reliht_draw {
    RELIHT_DRAW_GAUSSIAN,   /* independent N(0,1), the assumption of the theory */
    RELIHT_DRAW_CORRELATED, /* Gaussian, inputs a and b correlated by correlation^|a - b| */
    RELIHT_DRAW_HEAVY,      /* independent, Student's t with 3 degrees of freedom */
    RELIHT_DRAW_SPARSE,     /* independent, N(0, 1/density) with probability density, else 0 */
} reliht_draw;

typedef struct reliht_planted_options {
    size_t samples, inputs, outputs; /* default 50000, 100, 1 */
    size_t hidden, nnz, layers;      /* nnz is split evenly over the weight layers, as published */
    bool disjoint;                   /* no input feeds two neurons (needs layers 1, outputs 1) */
    float magnitude_minimum;         /* 0: values N(0,1); else sign * (minimum + |N(0,1)|) */
    bool mixed;                      /* signs mixed instead of plus */
    reliht_draw draw;                /* gaussian */
    double correlation;              /* of neighbouring inputs, in (-1, 1); 0.5 */
    double density;                  /* of sparse inputs, in (0, 1]; 0.1 */
    double noise;                    /* standard deviation of Gaussian noise on the targets; 0 */
    /* Inputs to plant the network on instead of drawing them; `samples` and `inputs` then are its
     * own. Not needed any more after the call. */
    const reliht_dataset *inputs_from;
    uint64_t seed;
} reliht_planted_options;

void reliht_planted_options_default(reliht_planted_options *options);

/* Draws a network (positions uniform without replacement, values N(0,1)) and inputs X, and
 * y = network(X) + noise. Errors: ARGUMENT, DATA (outputs beyond single precision), MEMORY. */
reliht_status reliht_planted_create(reliht_context *context, const reliht_planted_options *options,
                                    reliht_model **planted, reliht_dataset **dataset);

typedef struct reliht_image_options {
    size_t features;       /* random Fourier features sin, cos (2 pi x.B); even; default 1500 */
    double sigma;          /* B = sigma * N(0,1); default 2 */
    bool unit_coordinates; /* coordinates in [0,1) instead of whole pixels (the reference's) */
    uint64_t seed;
} reliht_image_options;

void reliht_image_options_default(reliht_image_options *options);

/* Reads a PNG (grey or RGB, 8 or 16 bits; alpha is dropped) as a data set: one sample per pixel,
 * row by row, inputs = Fourier features of its coordinates, targets = value / 255 (or 65535), one
 * output a channel. `width` and `height` may be NULL.
 * Errors: ARGUMENT, IO, FORMAT, MEMORY. */
reliht_status reliht_image_read(reliht_context *context, const char *path,
                                const reliht_image_options *options, size_t *width, size_t *height,
                                reliht_dataset **dataset);

/* The inputs of the image that `model` was fitted to, made again from what the model holds, with
 * targets zero: predicting them gives the image. Errors: ARGUMENT (fitted to no image), MEMORY. */
reliht_status reliht_image_of_model(reliht_context *context, const reliht_model *model,
                                    size_t *width, size_t *height, reliht_dataset **dataset);

/* Writes values [height*width, channels] in [0,1] (clipped) as an 8-bit PNG; channels 1 or 3. */
reliht_status reliht_image_write(reliht_context *context, const char *path, size_t width,
                                 size_t height, size_t channels, const float *values);

/* ---------------------------------------------------------------- training */

typedef enum reliht_solver {
    RELIHT_SOLVER_AUTO,
    RELIHT_SOLVER_AIHT,    /* steps and top-s choices, as published; several outputs: with the step
                              and importance of the options */
    RELIHT_SOLVER_RECOVER, /* grow, fit, cut back. One output: Gauss-Newton on the least squares of
                              the support, a batch for the search, an epoch is ten such rounds;
                              several outputs: by quasi-Newton steps, an epoch is one such round, a
                              batch serves many of them */
} reliht_solver;
typedef enum reliht_loss {
    RELIHT_LOSS_AUTO, /* cross-entropy for three or more classes, else mse */
    RELIHT_LOSS_MSE,
    RELIHT_LOSS_CROSS_ENTROPY,
} reliht_loss;
typedef enum reliht_generator {
    RELIHT_GENERATOR_GAUSSIAN, /* dense N(0,1), the paper's */
    RELIHT_GENERATOR_SPARSE,   /* 1 to 3 inputs, values N(0,1) */
} reliht_generator;
typedef enum reliht_importance {
    RELIHT_IMPORTANCE_SKETCH,           /* count sketch in fixed point, one exact top-s */
    RELIHT_IMPORTANCE_SKETCH_PUBLISHED, /* float32, neuron by neuron, as published; CPU only */
    RELIHT_IMPORTANCE_MAGNITUDE,        /* the stepped weight itself; no memory of the past */
} reliht_importance;
typedef enum reliht_step {
    RELIHT_STEP_AUTO,
    RELIHT_STEP_PUBLISHED, /* factored: 0.001, 0.005 or 2, as published */
} reliht_step;

typedef struct reliht_progress {
    size_t epoch, epochs;  /* finished, and in all (of this layer) */
    size_t batch, batches; /* finished within the epoch under way; batch == batches: epoch done */
    size_t layer, layers;
    size_t round, rounds; /* reliht_prune: the training under way, from 0, and all; else 0 */
    size_t nnz;
    double loss; /* of the last step, before it; reliht_prune: mean over the epoch so far */
    double
        evaluation_loss; /* at the end of an epoch: on the validation or training data; else NaN */
    double step_size;
    size_t swept; /* fused: neurons whose gradients the step formed */
    double seconds;
} reliht_progress;

/* Called after every step from the calling thread. Returning false cancels: the call that trains
 * then ends with RELIHT_CANCELLED and still hands over the best model so far. */
typedef bool (*reliht_progress_function)(void *user, const reliht_progress *progress);

typedef struct reliht_train_options {
    reliht_solver solver;         /* auto: recover for several real-valued outputs and for three or
                                     more classes with up to 10 weights a class (step auto,
                                     importance sketch), else aiht */
    size_t hidden, nnz, layers;   /* 100, 1000, 1 */
    size_t epochs;                /* 15 */
    size_t batch;                 /* 0: full */
    size_t refits;                /* internal steps on the new support, 10 (fused) */
    uint64_t seed;                /* 0 */
    bool convex;                  /* keep the generators fixed (fused) */
    bool bias;                    /* a constant input 1 for every layer */
    reliht_signs signs;           /* auto (fused) */
    reliht_loss loss;             /* auto */
    reliht_generator generator;   /* gaussian */
    reliht_importance importance; /* sketch (factored) */
    reliht_step step;             /* auto (factored) */
    double validation;            /* share of the training data kept to choose the best by; 0 */
    bool return_last;             /* false: the best by validation, else training loss */
    double tolerance; /* stop when the relative residual |yhat-y|/|y| is at most this, or
                         the weights have come to rest: |w_t - w_(t-1)| <= it * |w_t|;
                         0: never */
    bool screening;   /* leave out of a sweep the neurons that can't get weights (fused): no bit of
                         the result changes; true */
    const reliht_model *generators;    /* given generators: its first layer's rows are those of the
                                          first neurons, the rest is drawn (fused, first layer) */
    reliht_progress_function progress; /* may be NULL */
    void *progress_user;
} reliht_train_options;

void reliht_train_options_default(reliht_train_options *options);

/* Generators from a .npy file [hidden, inputs], for reliht_train_options.generators. Zeros are
 * dropped. Errors: IO, FORMAT, UNSUPPORTED, DATA, MEMORY. */
reliht_status reliht_generators_read_npy(reliht_context *context, const char *path,
                                         reliht_model **generators);

typedef struct reliht_train_report {
    size_t epochs;     /* finished (of the last layer) */
    bool converged;    /* the tolerance was met */
    double loss_final; /* training loss of the returned model: mse or cross-entropy */
    double seconds, cpu_seconds;
    double seconds_sweep;  /* in the sweeps over all neurons and the top-s choice */
    double swept_fraction; /* fused: of all neurons, how many the steps formed gradients for, in the
                              mean; the same for any number of threads */
    reliht_solver solver;  /* that ran: never auto */
} reliht_train_report;

/* Trains a network on `dataset`: the fused form for one output, the factored for more. `report` may
 * be NULL. Deterministic: the same data, options and backend give the same bits for any number of
 * threads. Errors: ARGUMENT, DATA, NUMERIC (names neuron and input), MEMORY; CANCELLED with a
 * model.
 */
reliht_status reliht_train(reliht_context *context, const reliht_dataset *dataset,
                           const reliht_train_options *options, reliht_model **model,
                           reliht_train_report *report);

/* ---------------------------------------------------------------- iterative magnitude pruning */

/* The baseline that everybody uses (Han et al. 2015; Frankle & Carbin 2019): a dense network is
 * trained by Adam; then round by round the smallest of all weights that are left are removed, the
 * others return to where they began, and the network is trained again. It holds all weights and
 * three more numbers for each. The network is that of reliht_train with several outputs (factored),
 * also for one output: bias inputs feed hidden layers, their weights count and are pruned like the
 * others.
 *
 * One descent serves all targets, from the largest to the smallest: a round that would remove more
 * weights than the next target allows removes just so many, and the network trained to the end on
 * that target's mask is what the next round prunes. */
typedef struct reliht_prune_options {
    size_t hidden, layers; /* 100, 1: neurons of each hidden layer; all layers train together */
    const size_t *nnz;     /* [targets] weights to be left, in any order, no two alike; NULL */
    size_t targets;        /* 0; at least 1 is needed */
    /* 0.1. In [0.001, 1): the share of the remaining weights a round removes, at least one weight;
     * 0: straight to each target; a whole number from 1 to 1000: so many rounds of equal ratio down
     * to the smallest target (rounds that would remove nothing are left out). */
    double rate;
    size_t epochs;        /* 10: of each training */
    size_t epochs_final;  /* 0, as epochs: of the training on each target's mask */
    size_t batch;         /* 0: full; the last batch of an epoch takes what is left */
    double learning_rate; /* 0.001 (with decays 0.9 and 0.999, epsilon 1e-8) */
    uint64_t seed;        /* 0 */
    bool bias;
    reliht_loss loss;  /* auto */
    double validation; /* share of the training data by which the best epoch on each target's
                          mask is chosen; 0: the last epoch */
    const reliht_dataset *test;        /* scored where the report says so; NULL */
    reliht_progress_function progress; /* also after each cut, as epoch 0 of the next training */
    void *progress_user;
} reliht_prune_options;

void reliht_prune_options_default(reliht_prune_options *options);

/* What a data set was scored as; all NaN where there was nothing to score. */
typedef struct reliht_prune_scores {
    reliht_evaluation train, test;
} reliht_prune_scores;

typedef struct reliht_prune_target {
    size_t nnz;              /* as in the options */
    size_t round;            /* cuts that led to it */
    size_t epochs;           /* finished on its mask */
    double loss_final;       /* training loss of the returned model */
    reliht_prune_scores cut; /* right after the cut, before anything is trained on its mask */
} reliht_prune_target;

typedef struct reliht_prune_report {
    size_t rounds;             /* cuts made */
    size_t epochs;             /* finished in all trainings together */
    size_t weights;            /* of the dense network */
    reliht_prune_scores dense; /* of the dense network after its training */
    double seconds, cpu_seconds;
} reliht_prune_report;

/* Prunes to every target: models[t] and results[t] are those of options->nnz[t]; `results`
 * [targets] and `report` may be NULL. Deterministic: the same data, options and backend give the
 * same bits for any number of threads, on processors for which the BLAS has the same kernels.
 * While it runs, the BLAS of the whole process has one thread. Errors: ARGUMENT, UNSUPPORTED (the
 * backend has no dense networks), NUMERIC (names
 * neuron and input), MEMORY; CANCELLED with models: targets that were not reached yet are cut from
 * the network as it was, without any training. */
reliht_status reliht_prune(reliht_context *context, const reliht_dataset *dataset,
                           const reliht_prune_options *options, reliht_model **models,
                           reliht_prune_target *results, reliht_prune_report *report);

/* Gaussian compressed sensing: recovers a vector of `length` with `nnz` nonzeros N(0,1) from
 * y = A x, A [measurements, length] ~ N(0,1), whose columns are made again when needed. */
typedef struct reliht_sense_options {
    size_t length, nnz, measurements; /* 1000, 10, 200 */
    size_t epochs, refits;            /* 15, 10 */
    double tolerance;                 /* stop when |A x - y| is at most this times |y|; 0: never */
    uint64_t seed;
    reliht_progress_function progress;
    void *progress_user;
} reliht_sense_options;

typedef struct reliht_sense_report {
    size_t epochs, nnz_used;
    bool converged;
    double support_recall, weight_rel_error, loss_final;
    double seconds, cpu_seconds, seconds_sweep;
} reliht_sense_report;

void reliht_sense_options_default(reliht_sense_options *options);

/* Errors: ARGUMENT, NUMERIC, MEMORY; CANCELLED with a report. */
reliht_status reliht_sense(reliht_context *context, const reliht_sense_options *options,
                           reliht_sense_report *report);

/* ---------------------------------------------------------------- certificate */

/* The quantities of the recovery guarantee, measured for given inputs and a given network: A is the
 * matrix [samples, hidden * inputs] of the convex form, whose patterns are those of the network's
 * distinct neurons, then of drawn generators. docs/certify.md defines them all. */
typedef struct reliht_certify_options {
    size_t hidden;              /* patterns in all; the network's at least; 100 */
    reliht_generator generator; /* of the drawn ones; gaussian */
    size_t sparsity;            /* s; 0: the weights of the network's distinct neurons */
    size_t directions;          /* random directions of each sparsity; 200 */
    size_t supports;            /* random supports whose extreme eigenvalues are computed; 20 */
    size_t searches;            /* starts of each search for the worst direction; 4 */
    size_t iterations;          /* of a search, at most; 20 */
    uint64_t seed;
    /* Where to put |A v|^2 / (n |v|^2) of the random directions [3, directions], and the smallest
     * and the largest eigenvalues on the random supports [3, supports] each; may be NULL. */
    double *direction_values, *smallest_values, *largest_values;
    reliht_progress_function progress; /* may be NULL; false cancels: CANCELLED, and no report */
    void *progress_user;
} reliht_certify_options;

void reliht_certify_options_default(reliht_certify_options *options);

/* For one sparsity k, over k-sparse v: |A v|^2 / (n |v|^2). */
typedef struct reliht_certificate_level {
    size_t sparsity;                     /* k: s, 2s, 3s, at most all columns */
    double direction_min, direction_max; /* over random directions */
    double support_min, support_max;     /* over all v on the random supports */
    double convexity;  /* least found by any means: the restricted strong convexity constant
                          is at most this */
    double smoothness; /* largest found: the restricted smoothness constant is at least this */
    double smoothness_bound; /* and at most this: k max_c |x_c|^2 / n */
} reliht_certificate_level;

typedef enum reliht_verdict {
    RELIHT_VERDICT_NOT_IDENTIFIABLE, /* other weights give the same outputs */
    RELIHT_VERDICT_NO_GUARANTEE,     /* the theorem cannot hold with sparsity s */
    RELIHT_VERDICT_NO_OBSTACLE,      /* nothing found that contradicts it */
} reliht_verdict;

typedef struct reliht_certificate {
    size_t samples, inputs, patterns; /* of A */
    size_t sparsity;                  /* s */
    /* Assumption 2, exact: smallest share of active samples of a pattern. */
    double active_min_network, active_min;
    /* Assumption 1: smallest share of samples in which two patterns differ. Over the network's
     * patterns, exact; NaN for fewer than two. */
    double distance_min_network;
    /* Over all of the first `compared` patterns: exact if that is all, else an upper bound. */
    double distance_min;
    size_t compared;
    /* Coverage, exact: share of samples in which a pattern of the network differs from the nearest
     * drawn one; mean and largest over the network. NaN without drawn ones. */
    double coverage_mean, coverage_worst;
    reliht_identifiability identifiability; /* of the network */
    reliht_certificate_level levels[3];
    /* With kappa = smoothness / convexity at 3s: no better contraction of the error by a step of
     * IHT with sparsity s can be guaranteed than phi (kappa - 1) / (kappa + 1), phi = 1.618 the
     * golden ratio (docs/certify.md). */
    double contraction;
    /* Weights that thresholding would have to keep for a guarantee with this kappa: at least
     * ((kappa - 1 / kappa) / 4)^2 s, or s if that is less. */
    double relaxed_sparsity;
    reliht_verdict verdict;
    char sentence[480]; /* the verdict with its numbers */
} reliht_certificate;

/* `network` is fused or factored; its first layer counts. The targets of `dataset` are not used.
 * Deterministic, for any number of threads. Errors: ARGUMENT, NUMERIC, MEMORY; CANCELLED. */
reliht_status reliht_certify(reliht_context *context, const reliht_dataset *dataset,
                             const reliht_model *network, const reliht_certify_options *options,
                             reliht_certificate *certificate);

/* ---------------------------------------------------------------- benchmark */

/* One sweep (patterns from drawn generators, masked gradient, top-s choice) beside one
 * single-precision matrix product of the same shapes (2*samples*inputs*hidden operations) by the
 * BLAS this library was built with, on the same number of threads: medians of `repeats`
 * interleaved runs. While it runs, the BLAS of the whole process has that number of threads.
 * Errors: ARGUMENT, MEMORY. */
typedef struct reliht_bench_sweep_options {
    size_t samples, inputs, hidden, nnz, repeats;
    reliht_generator generator;
} reliht_bench_sweep_options;

typedef struct reliht_bench_sweep_report {
    double seconds_sweep, seconds_sgemm;
    double seconds_patterns; /* part of seconds_sweep */
} reliht_bench_sweep_report;

reliht_status reliht_bench_sweep(reliht_context *context, const reliht_bench_sweep_options *options,
                                 reliht_bench_sweep_report *report);

#ifdef __cplusplus
}
#endif
#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#endif
