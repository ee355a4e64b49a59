// `reliht certify` as users run it.
#include "program.h"

using program::Cli;
using program::Json;
using program::Outcome;
using program::read_file;
using program::Words;

namespace
{

class CertifyCommand : public Cli
{
  protected:
    Words small(const Words &more = {}) const
    {
        Words words = {"certify", "--samples",        "200", "--inputs", "6", "--hidden",
                       "5",       "--planted-hidden", "2",   "--nnz",    "3", "--directions",
                       "5",       "--searches",       "1"};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }
    static bool has_gnuplot()
    {
        return system("gnuplot --version >/dev/null 2>&1") == 0;
    }
    // Runs with a program of that text in place of gnuplot, or with none for "".
    Outcome run_with_gnuplot(const Words &words, const std::string &text) const
    {
        std::string bin = file("bin");
        std::filesystem::create_directory(bin);
        if (!text.empty()) {
            std::ofstream(bin + "/gnuplot") << text;
            std::filesystem::permissions(bin + "/gnuplot", std::filesystem::perms::owner_all);
        }
        return run(words, [&] { setenv("PATH", bin.c_str(), 1); });
    }
};

} // namespace

TEST_F(CertifyCommand, PrintsNumbersAndWhatTheyAre)
{
    Outcome outcome = run(small({"--json"}));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.text("command"), "certify");
    EXPECT_EQ(result.number("samples"), 200);
    EXPECT_EQ(result.number("patterns"), 5);
    EXPECT_TRUE(json_is_true(result["identifiable"]));
    EXPECT_EQ(result.number("merged_neurons") + result.number("inactive_neurons"), 0);
    EXPECT_GT(result.number("support_eigenvalue_min"), 0);
    EXPECT_GE(result.number("support_eigenvalue_max"), result.number("support_eigenvalue_min"));
    ASSERT_EQ(json_array_size(result["levels"]), 3u);
    for (size_t i = 0; i < 3; i++) {
        const json_t *level = json_array_get(result["levels"], i);
        auto number = [&](const char *key) {
            return json_number_value(json_object_get(level, key));
        };
        EXPECT_GT(number("sparsity"), 0);
        EXPECT_LE(number("convexity"), number("support_min"));
        EXPECT_LE(number("support_max"), number("smoothness"));
        EXPECT_LE(number("smoothness"), number("smoothness_bound"));
    }
    for (const char *key : {"active_min", "active_min_network", "distance_min", "coverage_mean",
                            "coverage_worst", "contraction", "relaxed_sparsity", "seconds"})
        EXPECT_GE(result.number(key), 0) << key;
    for (const char *key : {"active_min", "distance_min", "convexity", "smoothness",
                            "smoothness_bound", "contraction", "direction_min"})
        EXPECT_TRUE(json_is_string(json_object_get(result["kinds"], key))) << key;
    EXPECT_FALSE(result.text("verdict").empty());
    EXPECT_FALSE(result.text("sentence").empty());
    outcome = run(small());
    ASSERT_EQ(outcome.status, 0);
    EXPECT_NE(outcome.out.find("\nverdict "), std::string::npos) << outcome.out;
}

TEST_F(CertifyCommand, SaysWhatThereIsNoDistanceOf)
{
    const Words alone = {"certify", "--samples",        "60", "--inputs", "4", "--hidden",
                         "1",       "--planted-hidden", "1",  "--nnz",    "1", "--directions",
                         "2",       "--searches",       "1"};
    Outcome outcome = run(alone);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.out.find(" nan"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("there is a single pattern"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("no drawn patterns"), std::string::npos) << outcome.out;
    Words more = alone;
    more[6] = "3";
    outcome = run(more);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.out.find(" nan"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("the network has a single pattern; at least"), std::string::npos)
        << outcome.out;
    EXPECT_NE(outcome.out.find("nearest drawn pattern"), std::string::npos) << outcome.out;
}

TEST_F(CertifyCommand, TakesDataAndNetworks)
{
    write_regression(100, 5);
    Words planted = {
        "planted", "--inputs-from",          file("x.npy"), "--hidden", "2", "--nnz", "4",
        "--model", file("model.safetensors")};
    ASSERT_EQ(run(planted).status, 0);
    Outcome outcome = run({"certify", "--x", file("x.npy"), "--model", file("model.safetensors"),
                           "--hidden", "6", "--json", "--directions", "3"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(last_line(outcome).number("samples"), 100);
    outcome = run({"certify", "--model", file("model.safetensors"), "--samples", "70", "--json",
                   "--directions", "3", "--searches", "1"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(last_line(outcome).number("samples"), 70);
    EXPECT_EQ(last_line(outcome).number("inputs"), 5);
    outcome = run({"certify", "--x", file("x.npy"), "--planted-hidden", "2", "--nnz", "3", "--json",
                   "--hidden", "4", "--directions", "3"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(last_line(outcome).number("inputs"), 5);
}

TEST_F(CertifyCommand, RefusesWithASentence)
{
    EXPECT_EQ(run(small({"--x", file("x.npy"), "--data", "mnist"})).status, 2);
    EXPECT_EQ(run(small({"--picture", file("figure.pdf")})).status, 2);
    EXPECT_EQ(run(small({"--directions", "0"})).status, 2);
    Outcome outcome = run(small({"--nnz", "100"}));
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.err.find("nnz"), std::string::npos);
    outcome = run({"certify", "--samples", "50", "--model", file("none.safetensors")});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("none.safetensors"), std::string::npos);
    EXPECT_EQ(run(small({"--picture", file("none/figure.svg")})).status, 1);
}

TEST_F(CertifyCommand, DrawsHistograms)
{
    if (!has_gnuplot())
        GTEST_SKIP() << "needs gnuplot (apt install gnuplot-nox)";
    Outcome outcome = run(small({"--picture", file("figure.svg")}));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::string figure = read_file(file("figure.svg"));
    EXPECT_EQ(figure.rfind("<?xml", 0), 0u);
    EXPECT_NE(figure.find("</svg>"), std::string::npos);
    EXPECT_NE(figure.find("random supports"), std::string::npos);
    ASSERT_EQ(run(small({"--picture", file("figure.png")})).status, 0);
    EXPECT_EQ(read_file(file("figure.png")).substr(1, 3), "PNG");
}

TEST_F(CertifyCommand, WithoutGnuplotThereIsANote)
{
    Words words = small({"--json", "--picture", file("figure.svg")});
    Outcome outcome = run_with_gnuplot(words, "");
    EXPECT_EQ(outcome.status, 0);
    EXPECT_NE(outcome.err.find("apt install gnuplot-nox"), std::string::npos) << outcome.err;
    EXPECT_FALSE(std::filesystem::exists(file("figure.svg")));
    last_line(outcome);
    outcome = run_with_gnuplot(words, "#!/bin/sh\necho it is broken >&2\nexit 3\n");
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("it is broken"), std::string::npos) << outcome.err;
    EXPECT_FALSE(std::filesystem::exists(file("figure.svg")));
}
