#include "solver/evaluation.h"

reliht_status evaluate_layer(reliht_context *context, const layer_view *layer,
                             const reliht_dataset *dataset, double *loss)
{
    reliht_model view = {
        .context = context,
        .kind = layer->kind,
        .signs = layer->signs,
        .loss = layer->loss,
        .bias = layer->bias,
        .inputs = dataset->inputs,
        .outputs = dataset->outputs,
        .layers = 1,
    };
    view.hidden[0] = *layer->hidden;
    if (layer->output)
        view.output = *layer->output;
    reliht_evaluation evaluation;
    reliht_status status = reliht_model_evaluate(context, &view, dataset, &evaluation);
    if (!status)
        *loss = evaluation.loss;
    return status;
}
