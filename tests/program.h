// The program as users run it, for tests: a process with arguments, what it prints, how it ends.
#ifndef RELIHT_TESTS_PROGRAM_H
#define RELIHT_TESTS_PROGRAM_H

#include "support.h"
#include "paths.h"

#include <jansson.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace program
{

using support::TemporaryDirectory;

using Words = std::vector<std::string>;

inline std::string read_file(const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

struct Outcome {
    int status; // exit status, or 1000 + signal
    std::string out, err;
};

// A JSON object, released with it.
struct Json {
    json_t *value;

    explicit Json(json_t *taken) : value(taken)
    {
    }
    ~Json()
    {
        json_decref(value);
    }
    Json(Json &&other) noexcept : value(std::exchange(other.value, nullptr))
    {
    }
    Json(const Json &) = delete;
    Json &operator=(const Json &) = delete;
    json_t *operator[](const char *key) const
    {
        return json_object_get(value, key);
    }
    double number(const char *key) const
    {
        EXPECT_TRUE(json_is_number((*this)[key])) << key;
        return json_number_value((*this)[key]);
    }
    std::string text(const char *key) const
    {
        EXPECT_TRUE(json_is_string((*this)[key])) << key;
        return json_is_string((*this)[key]) ? json_string_value((*this)[key]) : "";
    }
};

class Cli : public ::testing::Test
{
  protected:
    TemporaryDirectory folder;
    bool hide_gpus = true; // results are compared with those of the CPU backend

    std::string file(const std::string &name) const
    {
        return folder.file(name);
    }

    // Starts the program; `prepare` runs in the child before it becomes the program.
    pid_t start(const Words &words, const std::function<void()> &prepare = nullptr) const
    {
        std::string program = RELIHT_CLI;
        std::vector<char *> arguments = {program.data()};
        Words copies = words;
        for (std::string &word : copies)
            arguments.push_back(word.data());
        arguments.push_back(nullptr);
        std::string out = file("stdout"), err = file("stderr");
        pid_t child = fork();
        if (child == 0) {
            int out_file = open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
            int err_file = open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
            dup2(out_file, STDOUT_FILENO);
            dup2(err_file, STDERR_FILENO);
            close(out_file);
            close(err_file);
            if (hide_gpus)
                setenv("CUDA_VISIBLE_DEVICES", "", 1);
            if (prepare)
                prepare();
            execv(program.c_str(), arguments.data());
            _exit(127);
        }
        if (child < 0)
            abort(); // kill() and waitpid() would take -1 for all processes
        return child;
    }

    Outcome finish(pid_t child) const
    {
        int status = 0;
        waitpid(child, &status, 0);
        return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status),
                read_file(file("stdout")), read_file(file("stderr"))};
    }

    Outcome run(const Words &words, const std::function<void()> &prepare = nullptr) const
    {
        return finish(start(words, prepare));
    }

    // The last line of standard output as JSON.
    static Json last_line(const Outcome &outcome)
    {
        std::string text = outcome.out;
        EXPECT_FALSE(text.empty()) << outcome.err;
        if (!text.empty() && text.back() == '\n')
            text.pop_back();
        text = text.substr(text.rfind('\n') + 1);
        json_error_t error;
        json_t *value = json_loads(text.c_str(), 0, &error);
        EXPECT_TRUE(json_is_object(value)) << error.text << ": " << text;
        return Json(value);
    }

    // A .npy file of the given type ("<f4", "|u1", ...).
    template <typename T>
    std::string npy(const std::string &name, const char *type, const std::string &shape,
                    const std::vector<T> &values) const
    {
        std::string header = std::string("{'descr': '") + type +
                             "', 'fortran_order': False, 'shape': (" + shape + "), }";
        header.resize(117, ' ');
        header += '\n';
        std::ofstream stream(file(name), std::ios::binary);
        stream.write("\x93NUMPY\x01\x00\x76\x00", 10);
        stream << header;
        stream.write(reinterpret_cast<const char *>(values.data()),
                     static_cast<std::streamsize>(values.size() * sizeof(T)));
        return file(name);
    }

    // y = max(0, x_0 + x_1) on a lattice of Weyl sequences, as two .npy files.
    void write_regression(size_t samples, size_t inputs) const
    {
        std::vector<float> x(samples * inputs), y(samples);
        for (size_t i = 0; i < samples; i++) {
            for (size_t j = 0; j < inputs; j++) {
                double place = std::fmod((double)(i + 1) * std::sqrt(2.0 + 3.0 * (double)j), 1.0);
                x[i * inputs + j] = (float)(4 * place - 2);
            }
            y[i] = std::max(0.0f, x[i * inputs] + x[i * inputs + 1]);
        }
        npy("x.npy", "<f4", std::to_string(samples) + ", " + std::to_string(inputs), x);
        npy("y.npy", "<f4", std::to_string(samples) + ",", y);
    }

    // Three classes of 4x4 images: which third of the pixels is bright.
    void write_images(size_t samples) const
    {
        std::vector<uint8_t> x(samples * 16);
        std::vector<int64_t> y(samples);
        for (size_t i = 0; i < samples; i++) {
            y[i] = (int64_t)(i % 3);
            for (size_t j = 0; j < 16; j++)
                x[i * 16 + j] = (uint8_t)((i * 31 + j * 17) % 50 + (j / 5 == i % 3 ? 200 : 0));
        }
        npy("images.npy", "|u1", std::to_string(samples) + ", 4, 4", x);
        npy("labels.npy", "<i8", std::to_string(samples) + ",", y);
    }
};

} // namespace program

#endif
