// Small data sets and what a network predicts for them, dense and in double.
#ifndef RELIHT_TESTS_PREDICTION_H
#define RELIHT_TESTS_PREDICTION_H

#include "models.h"

extern "C" {
#include "data/dataset.h"
}

#include <cmath>
#include <random>
#include <vector>

namespace prediction
{

// A data set over arrays of its own, so that these tests depend on no reader.
struct Data {
    reliht_dataset set{};
    std::vector<float> floats, targets;
    std::vector<uint8_t> bytes;
    std::vector<int32_t> labels;

    Data(reliht_context *context, size_t samples, size_t inputs, element_type element,
         size_t outputs, unsigned seed = 1)
    {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        set.context = context;
        set.samples = samples;
        set.inputs = inputs;
        set.stride = padded_samples(samples);
        set.element = element;
        set.scale = element == ELEMENT_BYTE ? 1.0f / 255 : 1.0f;
        set.outputs = outputs;
        targets.resize(outputs * set.stride);
        for (size_t k = 0; k < outputs; k++)
            for (size_t i = 0; i < samples; i++)
                targets[k * set.stride + i] = normal(random);
        set.y = targets.data();
        for (float y : targets)
            set.target_maximum = std::max(set.target_maximum, std::fabs(y));
        // Exactly as long as promised, for the address sanitizer.
        if (element == ELEMENT_BYTE) {
            bytes.resize(samples * inputs);
            for (uint8_t &byte : bytes)
                byte = (uint8_t)random();
            set.x = bytes.data();
        } else {
            floats.resize((inputs + 1) * set.stride);
            for (size_t c = 0; c <= inputs; c++)
                for (size_t i = 0; i < samples; i++)
                    floats[c * set.stride + i] = c == inputs ? 1.0f : normal(random);
            set.x = floats.data();
        }
    }
    void label(size_t classes)
    {
        labels.resize(set.samples);
        for (size_t i = 0; i < set.samples; i++)
            labels[i] = (int32_t)(i * 7 % classes);
        set.labels = labels.data();
        set.classes = classes;
    }
    double input(size_t sample, size_t column) const
    {
        if (column == set.inputs)
            return 1;
        if (set.element == ELEMENT_BYTE)
            return (double)((float)bytes[sample * set.inputs + column] * set.scale);
        return floats[column * set.stride + sample];
    }
};

// The network as written in reliht.h, dense and in double. `magnitude` is the sum of the absolute
// values of all that is added up, a scale for the error.
inline std::vector<double> oracle(const reliht_model *model, const Data &data, size_t sample,
                                  std::vector<double> *magnitude)
{
    std::vector<double> here, size;
    for (size_t c = 0; c <= data.set.inputs; c++) {
        here.push_back(data.input(sample, c));
        size.push_back(std::fabs(here.back()));
    }
    for (size_t l = 0; l < model->layers; l++) {
        const sparse *w = &model->hidden[l];
        std::vector<double> next(w->rows), next_size(w->rows);
        for (size_t j = 0; j < w->live; j++) {
            double z = 0, s = 0;
            for (size_t e = w->start[j]; e < w->start[j + 1]; e++) {
                z += (double)w->value[e] * here[w->column[e]];
                s += std::fabs((double)w->value[e]) * size[w->column[e]];
            }
            next[w->row[j]] = z > 0 ? z : 0;
            next_size[w->row[j]] = s;
        }
        next.push_back(1);
        next_size.push_back(1);
        here = next;
        size = next_size;
    }
    std::vector<double> y(model->outputs);
    magnitude->assign(model->outputs, 0);
    if (model->kind == RELIHT_FUSED)
        for (size_t j = 0; j + 1 < here.size(); j++) {
            y[0] += (model->signs == RELIHT_SIGNS_MIXED && j % 2 ? -1 : 1) * here[j];
            (*magnitude)[0] += size[j];
        }
    for (size_t j = 0; j < model->output.live; j++)
        for (size_t e = model->output.start[j]; e < model->output.start[j + 1]; e++) {
            uint32_t k = model->output.column[e], neuron = model->output.row[j];
            y[k] += (double)model->output.value[e] * here[neuron];
            (*magnitude)[k] += std::fabs((double)model->output.value[e]) * size[neuron];
        }
    return y;
}

inline std::vector<float> predict(reliht_context *context, const reliht_model *model,
                                  const Data &data)
{
    std::vector<float> y(data.set.samples * model->outputs, NAN);
    EXPECT_EQ(reliht_model_predict(context, model, &data.set, y.data()), RELIHT_OK)
        << reliht_context_message(context);
    return y;
}

} // namespace prediction

#endif
