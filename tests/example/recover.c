/* Plants a sparse network, trains another one on its outputs alone and tells what was recovered. */
#include <reliht/reliht.h>

#include <stdio.h>

static int explain(const reliht_context *context, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, reliht_context_message(context));
    return 1;
}

int main(void)
{
    reliht_context *context;
    char message[256];
    if (reliht_context_create(NULL, &context, message, sizeof message) != RELIHT_OK) {
        fprintf(stderr, "%s\n", message);
        return 1;
    }
    int status = 0;
    reliht_model *planted = NULL, *model = NULL;
    reliht_dataset *data = NULL;

    reliht_planted_options plant;
    reliht_planted_options_default(&plant);
    plant.samples = 1000;
    plant.inputs = 40;
    plant.hidden = 4;
    plant.nnz = 12;
    plant.disjoint = true;
    plant.magnitude_minimum = 1;
    if (reliht_planted_create(context, &plant, &planted, &data) != RELIHT_OK) {
        status = explain(context, "planting");
        goto done;
    }

    reliht_train_options options;
    reliht_train_report report;
    reliht_train_options_default(&options);
    options.hidden = plant.hidden;
    options.nnz = plant.nnz;
    options.epochs = 50;
    options.convex = true; /* generators stay fixed, here the planted ones */
    options.generators = planted;
    if (reliht_train(context, data, &options, &model, &report) != RELIHT_OK) {
        status = explain(context, "training");
        goto done;
    }

    double recall, error;
    if (reliht_model_compare(context, planted, model, &recall, &error) != RELIHT_OK) {
        status = explain(context, "comparing");
        goto done;
    }
    printf("reliht %s on %s: %zu of %zu nonzeros used, %.0f%% of the support recovered, "
           "weights to a relative error of %.1e\n",
           reliht_version(), reliht_context_backend(context), reliht_model_nnz(model), plant.nnz,
           100 * recall, error);
    status = recall == 1 && error < 1e-5 ? 0 : 1;

done:
    reliht_model_destroy(model);
    reliht_model_destroy(planted);
    reliht_dataset_destroy(data);
    reliht_context_destroy(context);
    return status;
}
