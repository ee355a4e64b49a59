// write_models FOLDER: model files for check_safetensors.py, each with inputs (NAME.x.f32, rows of
// raw float32) and the outputs that the library predicts for them (NAME.y.f32).
#include "models.h"

extern "C" {
#include "data/dataset.h"
}

#include <fstream>
#include <iostream>

static bool write_floats(const std::string &path, const std::vector<float> &values)
{
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char *>(values.data()),
               (std::streamsize)(values.size() * sizeof(float)));
    return file.good();
}

static reliht_status write_model(reliht_context *context, const models::Shape &shape,
                                 const std::string &path)
{
    const size_t samples = 20;
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    std::vector<float> x(samples * shape.inputs), y(samples * shape.outputs);
    for (float &value : x)
        value = normal(random);
    reliht_model *model = nullptr;
    reliht_dataset *data = nullptr;
    reliht_status status = models::make_model(context, shape, 0.5, 7, &model);
    if (!status)
        status = model_describe(model, "aiht", 18446744073709551615u, 1000);
    if (!status)
        status = reliht_model_write(context, model, (path + ".safetensors").c_str());
    if (!status)
        status = reliht_dataset_from_arrays(context, samples, shape.inputs, x.data(), shape.outputs,
                                            y.data(), &data);
    if (!status)
        status = reliht_model_predict(context, model, data, y.data());
    if (!status && (!write_floats(path + ".x.f32", x) || !write_floats(path + ".y.f32", y)))
        status = RELIHT_IO;
    reliht_dataset_destroy(data);
    reliht_model_destroy(model);
    return status;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        std::cerr << "usage: write_models FOLDER\n";
        return 2;
    }
    support::Context context(1);
    std::vector<models::Shape> shapes = models::shapes();
    for (size_t i = 0; i < shapes.size(); i++) {
        std::string path = std::string(arguments[1]) + "/model" + std::to_string(i);
        if (write_model(context, shapes[i], path)) {
            std::cerr << path << ": " << context.message() << "\n";
            return 1;
        }
    }
    return 0;
}
