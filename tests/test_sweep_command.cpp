// `reliht sweep`: cells agree with single runs, whatever ends it can be continued, its files are
// what other programs expect, and wrong usage is refused before anything runs.
#include "program.h"

#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

using namespace program;
namespace fs = std::filesystem;

namespace
{

// Rows of a CSV file with a head: by column name.
using Row = std::map<std::string, std::string>;

std::vector<std::string> split(const std::string &text, char separator)
{
    std::vector<std::string> parts(1);
    for (char c : text) {
        if (c == separator)
            parts.emplace_back();
        else
            parts.back() += c;
    }
    return parts;
}

std::vector<std::string> lines_of(const std::string &path)
{
    std::vector<std::string> lines = split(read_file(path), '\n');
    lines.pop_back(); // after the last end of line
    return lines;
}

std::vector<Row> read_csv(const std::string &path)
{
    std::vector<Row> rows;
    std::vector<std::string> lines = lines_of(path), names = split(lines.at(0), ',');
    for (size_t i = 1; i < lines.size(); i++) {
        std::vector<std::string> values = split(lines[i], ',');
        EXPECT_EQ(values.size(), names.size()) << lines[i];
        Row row;
        for (size_t j = 0; j < names.size() && j < values.size(); j++)
            row[names[j]] = values[j];
        rows.push_back(row);
    }
    return rows;
}

// A float64 array in C order, its shape checked.
std::vector<double> read_npy(const std::string &path, const std::string &shape)
{
    std::string text = read_file(path);
    EXPECT_EQ(text.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
    EXPECT_EQ(text.substr(8, 2), std::string("\x76\x00", 2));
    EXPECT_EQ(text.substr(10, 118).find("{'descr': '<f8', 'fortran_order': False, 'shape': (" +
                                        shape + "), }"),
              0u)
        << text.substr(10, 118);
    EXPECT_EQ(text[127], '\n');
    std::vector<double> values((text.size() - 128) / sizeof(double));
    std::memcpy(values.data(), text.data() + 128, values.size() * sizeof(double));
    return values;
}

// Whether tags are closed in the order they were opened; comments, declarations and CDATA skipped.
bool well_formed(const std::string &xml)
{
    std::vector<std::string> open;
    for (size_t place = 0; (place = xml.find('<', place)) != std::string::npos;) {
        std::string ending = ">";
        for (const auto &[begin, end] :
             {std::pair<const char *, const char *>{"<!--", "-->"}, {"<![CDATA[", "]]>"}}) {
            if (xml.compare(place, std::strlen(begin), begin) == 0)
                ending = end;
        }
        size_t close = xml.find(ending, place);
        if (close == std::string::npos)
            return false;
        std::string tag = xml.substr(place + 1, close - place - 1);
        place = close + ending.size();
        if (tag[0] == '!' || tag[0] == '?' || tag.back() == '/')
            continue;
        std::string name = tag.substr(0, tag.find_first_of(" \t\n"));
        if (name[0] != '/') {
            open.push_back(name);
        } else if (open.empty() || "/" + open.back() != name) {
            return false;
        } else {
            open.pop_back();
        }
    }
    return open.empty() && xml.find("<svg") != std::string::npos;
}

bool has_gnuplot()
{
    for (const std::string &folder : split(std::getenv("PATH") ? std::getenv("PATH") : "", ':')) {
        if (access((folder + "/gnuplot").c_str(), X_OK) == 0)
            return true;
    }
    return false;
}

// Whether a process other than a zombie has the word in its command line.
bool process_with(const std::string &word)
{
    std::error_code ignored;
    for (const auto &entry : fs::directory_iterator("/proc", ignored)) {
        std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") == std::string::npos &&
            read_file(entry.path() / "cmdline").find(word) != std::string::npos)
            return true;
    }
    return false;
}

class SweepCommand : public Cli
{
  protected:
    std::string out = file("out");

    // A small sweep of planted networks.
    Words planted(const Words &more = {}) const
    {
        Words words = {"sweep",    "planted", "--out",    out,   "--hidden",  "2,5",
                       "--nnz",    "4,10",    "--seeds",  "0-1", "--samples", "200",
                       "--inputs", "12",      "--epochs", "4"};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }

    // One whose cells take a while: `samples` marks its processes.
    Words slow(const std::string &samples) const
    {
        return {"sweep",     "planted", "--out",    out,   "--hidden",    "40",
                "--nnz",     "50",      "--seeds",  "0-3", "--jobs",      "2",
                "--samples", samples,   "--epochs", "40",  "--tolerance", "0"};
    }

    std::string record() const
    {
        return out + "/cells.jsonl";
    }

    bool wait_for(const std::function<bool()> &condition) const
    {
        for (int i = 0; i < 3000; i++) {
            if (condition())
                return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return false;
    }
};

} // namespace

// ---------------------------------------------------------------- results

TEST_F(SweepCommand, CellsAgreeWithSingleRuns)
{
    Outcome outcome = run(planted({"--json"}));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    EXPECT_EQ(result.number("cells"), 8);
    EXPECT_EQ(result.number("done"), 8);
    EXPECT_EQ(result.text("metric"), "psnr_db");
    EXPECT_EQ(result.text("csv"), out + "/results.csv");
    std::vector<Row> rows = read_csv(out + "/results.csv");
    std::vector<double> values = read_npy(out + "/results.npy", "1, 2, 2, 2");
    ASSERT_EQ(rows.size(), 8u);
    ASSERT_EQ(values.size(), 8u);
    for (size_t i = 0; i < 8; i++) {
        const Row &row = rows[i];
        EXPECT_EQ(row.at("method"), "aiht");
        EXPECT_EQ(row.at("hidden"), i / 4 ? "5" : "2");
        EXPECT_EQ(row.at("nnz"), i / 2 % 2 ? "10" : "4");
        EXPECT_EQ(row.at("seed"), i % 2 ? "1" : "0");
        EXPECT_EQ(row.at("status"), "done");
        EXPECT_EQ(row.at("test_accuracy"), "");
        Outcome single =
            run({"planted", "--hidden", row.at("hidden"), "--nnz", row.at("nnz"), "--seed",
                 row.at("seed"), "--samples", "200", "--inputs", "12", "--epochs", "4", "--json"});
        ASSERT_EQ(single.status, 0) << single.err;
        Json expected = last_line(single);
        EXPECT_NEAR(std::stod(row.at("psnr_db")), expected.number("psnr_db"), 1e-8);
        EXPECT_EQ(values[i], std::stod(row.at("psnr_db")));
        EXPECT_EQ(std::stod(row.at("nnz_used")), expected.number("nnz_used"));
        EXPECT_EQ(std::stod(row.at("epochs")), expected.number("epochs"));
    }
}

TEST_F(SweepCommand, EveryTaskHasItsMetricAndOtherAxesAreTaken)
{
    struct Case {
        Words words;
        const char *metric, *shape;
    };
    support::Context context;
    write_regression(60, 5);
    write_images(60);
    std::vector<float> pixels(48, 0.5f);
    pixels[7] = 1;
    ASSERT_EQ(reliht_image_write(context, file("in.png").c_str(), 8, 6, 1, pixels.data()),
              RELIHT_OK);
    const Case cases[] = {
        {{"sense", "--length", "60", "--nnz", "2-3", "--measurements=30", "--seeds=7"},
         "support_recall",
         "1, 1, 2, 1"},
        {{"sense", "--axes", "measurements,nnz", "--measurements", "20,40", "--nnz", "2,3,4",
          "--length", "60", "--seeds", "0-2", "--metric", "recovered"},
         "recovered",
         "1, 2, 3, 3"},
        {{"planted", "--axes=samples,hidden", "--samples", "50,80", "--hidden=3", "--nnz", "4"},
         "psnr_db",
         "1, 2, 1, 1"},
        {{"inr", "--image", file("in.png"), "--hidden", "3", "--nnz", "9", "--features", "20"},
         "psnr_db",
         "1, 1, 1, 1"},
        {{"train", "--x", file("x.npy"), "--y", file("y.npy"), "--hidden", "4", "--nnz", "6,7"},
         "psnr_db",
         "1, 1, 2, 1"},
        {{"train", "--x", file("images.npy"), "--y", file("labels.npy"), "--hidden", "9", "--nnz",
          "40"},
         "train_accuracy",
         "1, 1, 1, 1"},
        {{"train", "--x", file("images.npy"), "--y", file("labels.npy"), "--x-test",
          file("images.npy"), "--y-test", file("labels.npy"), "--hidden", "9", "--nnz", "40"},
         "test_accuracy",
         "1, 1, 1, 1"},
    };
    for (const Case &c : cases) {
        TemporaryDirectory target;
        Words words = {"sweep"};
        words.insert(words.end(), c.words.begin(), c.words.end());
        words.insert(words.end(), {"--out", target.file("new"), "--json", "--threads", "2"});
        Outcome outcome = run(words);
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        EXPECT_EQ(last_line(outcome).text("metric"), c.metric);
        for (double value : read_npy(target.file("new/results.npy"), c.shape)) {
            EXPECT_TRUE(std::isfinite(value)) << c.metric;
            if (!std::strcmp(c.metric, "recovered")) {
                EXPECT_TRUE(value == 0 || value == 1) << value;
            }
        }
    }
}

TEST_F(SweepCommand, WhatIsNeverActiveIsNotRecovered)
{
    Outcome outcome =
        run({"sweep", "planted", "--out", out, "--hidden", "3", "--nnz", "10", "--samples", "100",
             "--inputs-draw", "sparse", "--density", "1e-6", "--metric", "recovered"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(std::isnan(read_npy(out + "/results.npy", "1, 1, 1, 1").at(0)));
}

TEST_F(SweepCommand, OptionsOfAMethodReplaceTheCommonOnes)
{
    ASSERT_EQ(run(planted({"--aiht:epochs", "2", "--aiht:tolerance=0"})).status, 0);
    for (const Row &row : read_csv(out + "/results.csv"))
        EXPECT_EQ(row.at("epochs"), "2");
}

TEST_F(SweepCommand, OneDescentServesTheRowOfAPrunedNetwork)
{
    write_regression(60, 5);
    Words data = {"train", "--x", file("x.npy"), "--y", file("y.npy"), "--hidden", "4"};
    Words words = {"sweep"}, single = {"prune"};
    words.insert(words.end(), data.begin(), data.end());
    words.insert(words.end(), {"--nnz", "5,900,12", "--method", "aiht,prune", "--prune:epochs", "2",
                               "--out", out});
    single.insert(single.end(), data.begin(), data.end());
    single.insert(single.end(), {"--nnz", "5,12", "--epochs", "2", "--json"});
    Outcome outcome = run(words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    outcome = run(single);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json expected = last_line(outcome);
    std::vector<Row> rows = read_csv(out + "/results.csv");
    ASSERT_EQ(rows.size(), 6u);
    for (size_t i = 3; i < 6; i++) {
        EXPECT_EQ(rows[i].at("method"), "prune");
        EXPECT_EQ(rows[i].at("status"), i == 4 ? "refused" : "done");
    }
    for (const auto &[place, target] : {std::pair<size_t, size_t>{5, 0}, {3, 1}}) {
        json_t *scores = json_array_get(expected["targets"], target);
        auto number = [scores](const char *key) {
            return json_number_value(json_object_get(scores, key));
        };
        EXPECT_EQ(std::stod(rows[place].at("nnz")), number("nnz_budget"));
        EXPECT_EQ(std::stod(rows[place].at("nnz_used")), number("nnz_used"));
        EXPECT_NEAR(std::stod(rows[place].at("psnr_db")), number("psnr_db"), 1e-8);
    }
    EXPECT_NE(rows[3].at("psnr_db"), rows[5].at("psnr_db"));
}

TEST_F(SweepCommand, SolversAreMethods)
{
    Outcome outcome = run(planted({"--outputs", "2", "--method", "recover,aiht", "--nnz", "8"}));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(read_csv(out + "/results.csv").size(), 8u);
    std::string text = read_file(record());
    for (const char *solver : {"\"solver\":\"recover\"", "\"solver\":\"aiht\""})
        EXPECT_NE(text.find(solver), std::string::npos) << solver;
}

TEST_F(SweepCommand, CellsThatCannotExistAreNamedAndLeftOut)
{
    Outcome outcome = run(planted({"--nnz", "4,30"})); // 2 neurons of 12 inputs have room for 24
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_NE(
        outcome.err.find("cannot exist: aiht hidden 2 nnz 30 seed 0: planted network: nnz 30"),
        std::string::npos)
        << outcome.err;
    EXPECT_EQ(outcome.err.find("seed 1"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.out.find("6 of 8 done, 2 cannot exist, 0 failed"), std::string::npos);
    std::vector<double> values = read_npy(out + "/results.npy", "1, 2, 2, 2");
    for (size_t i = 0; i < 8; i++)
        EXPECT_EQ(std::isnan(values[i]), i == 2 || i == 3) << i;
    EXPECT_EQ(read_csv(out + "/results.csv")[2].at("status"), "refused");
    // Known from now on: nothing is tried again.
    std::string before = read_file(record());
    EXPECT_EQ(run(planted({"--nnz", "4,30"})).status, 0);
    EXPECT_EQ(read_file(record()), before);

    fs::remove_all(out);
    EXPECT_EQ(run(planted({"--nnz", "100"})).status, 2);
}

// ---------------------------------------------------------------- continuing

TEST_F(SweepCommand, GoesOnAfterAKill)
{
    const std::string samples = "12347"; // in the command lines of the cells
    pid_t sweep = start(slow(samples));
    ASSERT_TRUE(wait_for([&] {
        std::string text = read_file(record());
        return text.find('\n') != std::string::npos && process_with(samples);
    }));
    kill(sweep, SIGKILL);
    EXPECT_EQ(finish(sweep).status, 1000 + SIGKILL);
    EXPECT_TRUE(wait_for([&] { return !process_with(samples); })) << "cells outlive the sweep";
    std::vector<std::string> before = lines_of(record());
    EXPECT_LT(before.size(), 4u);
    std::ofstream(record(), std::ios::app) << "{\"method\":\"aiht\",\"hid"; // killed in a write

    Outcome outcome = run(slow(samples));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::vector<std::string> after = lines_of(record());
    ASSERT_EQ(after.size(), 4u); // every cell once
    for (size_t i = 0; i < before.size(); i++)
        EXPECT_EQ(after[i], before[i]);
    EXPECT_EQ(run(slow(samples)).status, 0); // nothing is left to do, and every line can be read
    EXPECT_EQ(lines_of(record()), after);
    std::vector<Row> continued = read_csv(out + "/results.csv");
    fs::remove_all(out);
    ASSERT_EQ(run(slow(samples)).status, 0);
    std::vector<Row> whole = read_csv(out + "/results.csv");
    ASSERT_EQ(continued.size(), 4u);
    for (size_t i = 0; i < 4; i++) {
        for (const char *key : {"method", "hidden", "nnz", "seed", "psnr_db", "epochs"})
            EXPECT_EQ(continued[i][key], whole[i][key]) << key;
    }
}

TEST_F(SweepCommand, CellsEndWithTheirSweep)
{
    const std::string samples = "12353";
    Words words = slow(samples);
    words.insert(words.end(), {"--epochs", "100000"}); // minutes
    pid_t sweep = start(words);
    const std::string end(1, '\0'); // of a word; the sweep's own command line has no --quiet
    ASSERT_TRUE(
        wait_for([&] { return process_with("--quiet" + end + "--samples" + end + samples); }));
    kill(sweep, SIGKILL);
    finish(sweep);
    EXPECT_TRUE(wait_for([&] { return !process_with(samples); }));
}

TEST_F(SweepCommand, InterruptedItTellsWhatItHas)
{
    const std::string samples = "12349";
    pid_t sweep = start(slow(samples));
    ASSERT_TRUE(wait_for([&] { return process_with(samples) && !read_file(record()).empty(); }));
    kill(sweep, SIGINT);
    Outcome outcome = finish(sweep);
    EXPECT_EQ(outcome.status, 128 + SIGINT) << outcome.err;
    EXPECT_FALSE(process_with(samples));
    EXPECT_EQ(read_csv(out + "/results.csv").size(), lines_of(record()).size());
}

TEST_F(SweepCommand, TheGridMayGrowButNotChange)
{
    ASSERT_EQ(run(planted()).status, 0);
    std::string before = read_file(record());
    ASSERT_EQ(run(planted({"--seeds", "0-2"})).status, 0);
    std::string after = read_file(record());
    EXPECT_EQ(after.substr(0, before.size()), before);
    EXPECT_EQ(lines_of(record()).size(), 12u);
    const std::pair<Words, std::string> cases[] = {
        {planted({"--samples", "201"}), "another set of options"},
        {planted({"--aiht:refits", "3"}), "another set of options for aiht"},
        {{"sweep", "planted", "--out", out, "--axes", "samples,nnz", "--samples", "200", "--nnz",
          "4"},
         "another pair of axes"},
        {{"sweep", "sense", "--out", out, "--length", "50", "--nnz", "2"}, "another task"},
    };
    for (const auto &[words, message] : cases) {
        Outcome outcome = run(words);
        EXPECT_EQ(outcome.status, 1);
        EXPECT_NE(outcome.err.find(message), std::string::npos) << outcome.err;
        EXPECT_EQ(read_file(record()), after);
    }
}

TEST_F(SweepCommand, OneFolderHasOneSweepAtATime)
{
    const std::string samples = "12351";
    pid_t sweep = start(slow(samples));
    ASSERT_TRUE(wait_for([&] { return process_with(samples) && fs::exists(record()); }));
    std::string log = file("second");
    Words words = slow(samples);
    pid_t second = start(words, [&log] {
        int other = open(log.c_str(), O_WRONLY | O_CREAT, 0600);
        dup2(other, STDERR_FILENO);
    });
    int status = 0;
    waitpid(second, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), 1);
    EXPECT_NE(read_file(log).find("another sweep is running"), std::string::npos);
    kill(sweep, SIGKILL);
    finish(sweep);
}

TEST_F(SweepCommand, FailedCellsAreToldAndTriedAgain)
{
    Words words = {"sweep", "train",       "--out",    out, "--x",   file("x.npy"),
                   "--y",   file("y.npy"), "--hidden", "3", "--nnz", "4,5"};
    Outcome outcome = run(words);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("failed: aiht hidden 3 nnz 4 seed 0: "), std::string::npos)
        << outcome.err;
    EXPECT_NE(outcome.err.find("x.npy"), std::string::npos) << outcome.err;
    EXPECT_EQ(read_csv(out + "/results.csv").at(1).at("status"), "failed");
    write_regression(40, 6);
    outcome = run(words);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(read_csv(out + "/results.csv").at(1).at("status"), "done");
}

TEST_F(SweepCommand, BrokenRecordsAreRefused)
{
    ASSERT_EQ(run(planted()).status, 0);
    std::string cells = read_file(record()), settings = read_file(out + "/sweep.json");
    for (const char *line : {"no json\n", "[1]\n", "{\"method\":\"aiht\"}\n"}) {
        std::ofstream(record()) << line << cells;
        Outcome outcome = run(planted());
        EXPECT_EQ(outcome.status, 1);
        EXPECT_NE(outcome.err.find("cells.jsonl': line 1"), std::string::npos) << outcome.err;
    }
    std::ofstream(record()) << cells;
    std::ofstream(out + "/sweep.json") << settings.substr(0, settings.size() / 2);
    Outcome outcome = run(planted());
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("sweep.json"), std::string::npos) << outcome.err;
}

TEST_F(SweepCommand, AFullDiskLosesNothingThatWasThere)
{
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
    GTEST_SKIP() << "the thread sanitizer's own files don't fit the limit either";
#endif
#endif
    Words words = planted({"--jobs", "1"});
    auto limited = [] {
        struct rlimit limit = {3000, 3000};
        setrlimit(RLIMIT_FSIZE, &limit);
    };
    Outcome outcome = run(words, limited);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("cells.jsonl' cannot be written: "), std::string::npos)
        << outcome.err;
    std::string before = read_file(record());
    EXPECT_FALSE(before.empty());
    EXPECT_EQ(before.back(), '\n');
    outcome = run(words);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(read_file(record()).substr(0, before.size()), before);
    EXPECT_EQ(read_csv(out + "/results.csv").size(), 8u);

    std::string results =
        read_file(out + "/results.csv"); // kept as it is when it cannot be replaced
    outcome = run(words, [] {
        struct rlimit limit = {500, 500};
        setrlimit(RLIMIT_FSIZE, &limit);
    });
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("results.csv' cannot be written: "), std::string::npos)
        << outcome.err;
    EXPECT_EQ(read_file(out + "/results.csv"), results);
}

// ---------------------------------------------------------------- figures

TEST_F(SweepCommand, FiguresAreDrawn)
{
    if (!has_gnuplot())
        GTEST_SKIP() << "needs gnuplot (apt install gnuplot-nox)";
    Outcome outcome = run(planted({"--nnz", "4,30", "--json"}));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = last_line(outcome);
    std::string png = read_file(result.text("png")), svg = read_file(result.text("svg"));
    EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
    EXPECT_EQ(png.substr(12, 4), "IHDR");
    auto big_endian = [&png](size_t place) {
        unsigned value = 0;
        for (size_t i = 0; i < 4; i++)
            value = value << 8 | (unsigned char)png[place + i];
        return value;
    };
    EXPECT_GE(big_endian(16), 300u);
    EXPECT_GE(big_endian(20), 200u);
    EXPECT_TRUE(well_formed(svg));
    for (const char *label : {"hidden neurons", "nonzero weights", "PSNR, dB", "aiht",
                              "mean over 2 seeds", "hatched: cannot exist", "-20"})
        EXPECT_NE(svg.find(label), std::string::npos) << label;
}

TEST_F(SweepCommand, WithoutGnuplotTheNumbersAreThere)
{
    Outcome outcome = run(planted({"--json"}), [] { setenv("PATH", "/nowhere", 1); });
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("apt install gnuplot-nox"), std::string::npos) << outcome.err;
    EXPECT_EQ(last_line(outcome)["svg"], nullptr);
    EXPECT_EQ(read_csv(out + "/results.csv").size(), 8u);
}

TEST_F(SweepCommand, AGnuplotThatFailsIsAFailure)
{
    std::ofstream(file("gnuplot")) << "#!/bin/sh\necho it is broken\nexit 1\n";
    fs::permissions(file("gnuplot"), fs::perms::owner_all);
    std::string path = folder.path.string() + ":" + std::getenv("PATH");
    Outcome outcome = run(planted(), [&path] { setenv("PATH", path.c_str(), 1); });
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("gnuplot failed (it is broken)"), std::string::npos) << outcome.err;
    std::ofstream(file("gnuplot")) << "#!/bin/sh\necho half >heatmap.svg.part\n";
    outcome = run(planted(), [&path] { setenv("PATH", path.c_str(), 1); });
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("could not be written in full by gnuplot"), std::string::npos)
        << outcome.err;
    EXPECT_FALSE(fs::exists(out + "/heatmap.svg"));
}

// ---------------------------------------------------------------- usage

TEST_F(SweepCommand, WrongUsageIsRefusedBeforeAnythingRuns)
{
    struct Case {
        Words words;
        std::string message;
        int status = 2;
    };
    std::string many = "0-1000", wide = "1-999";
    const Case cases[] = {
        {{"sweep"}, "which task"},
        {{"sweep", "--out", out}, "which task"},
        {{"sweep", "eval", "--out", out}, "'eval' is not one of"},
        {{"sweep", "plantd", "--out", out}, "'plantd' is not one of"},
        {{"sweep", "planted", "now"}, "'now' is not expected"},
        {{"sweep", "planted", "--hidden", "2", "--nnz", "3"}, "--out DIR"},
        {{"sweep", "planted", "--out", out, "--hidden", "2"}, "--nnz LIST"},
        {{"sweep", "planted", "--out", out, "--hidden"}, "--hidden LIST"},
        {planted({"--hidden", "2", "5"}), "'5' is not expected"},
        {planted({"--hidden", "2,,5"}), "--hidden: '2,,5' is not a list of whole numbers"},
        {planted({"--hidden", "2,5,"}), "--hidden: '2,5,'"},
        {planted({"--hidden", "5-2"}), "--hidden: '5-2'"},
        {planted({"--hidden", "-2"}), "--hidden: '-2'"},
        {planted({"--hidden", "1e3"}), "--hidden: '1e3'"},
        {planted({"--hidden", "2,5,2"}), "has a value twice"},
        {planted({"--hidden="}), "--hidden: ''"},
        {planted({"--hidden", "9999999999999999999"}), "--hidden: '9999"},
        {planted({"--hidden", "0,2"}), "--hidden: '0' is not a whole number"},
        {planted({"--hidden", "2,2147483648"}), "--hidden: '2147483648'"},
        {planted({"--nnz", "four"}), "--nnz: 'four'"},
        {planted({"--seeds", "0;1"}), "--seeds: '0;1'"},
        {planted({"--seeds", many}), "more than 1000 values"},
        {planted({"--seeds", wide, "--nnz", wide}), "the grid has 1996002 cells"},
        {planted({"--seeds"}), "--seeds needs a value"},
        {planted({"--seed", "3"}), "--seeds LIST"},
        {planted({"--solver", "recover"}), "--solver: the solvers are methods, give --method LIST"},
        {planted({"--solver=auto"}), "--method LIST"},
        {planted({"--method", "aiht,recover", "--recover:solver", "aiht"}), "--method LIST"},
        {planted({"--method", "magic"}), "--method: 'magic' is not one of aiht, recover, prune"},
        {{"sweep", "sense", "--out", out, "--method", "prune"}, "'prune' is not one of aiht."},
        {planted({"--method", "aiht,prune", "--refits", "3"}),
         "reliht prune: there is no option --refits"},
        {planted({"--method", "aiht,aiht"}), "'aiht' twice"},
        {planted({"--method", ""}), "--method: ''"},
        {planted({"--axes", "hidden"}), "--axes: 'hidden'"},
        {planted({"--axes", "hidden,nnz,seed"}), "--axes: 'hidden,nnz,seed'"},
        {planted({"--axes", "nnz,nnz"}), "'nnz' twice"},
        {planted({"--axes", "hidden,measurements"}), "'measurements' is no option of planted"},
        {planted({"--axes", "hidden,seed"}), "'seed' is no option"},
        {planted({"--axes", "hidden,tolerance"}), "'tolerance' is no option"},
        {planted({"--jobs", "0"}), "--jobs: '0' is not a whole number from 1 to 4096"},
        {planted({"--threads", "many"}), "--threads: 'many'"},
        {planted({"--json=yes"}), "--json takes no value"},
        {planted({"--metric", ""}), "--metric: ''"},
        {planted({"--epochs", "none"}), "--epochs: 'none'"},
        {planted({"--convexx"}), "no option --convexx"},
        {planted({"--image", "a.png"}), "no option --image"},
        {planted({"--convex", "now"}), "'now' is not expected"},
        {planted({"--inputs-from", "x.npy"}), "has no effect beside --inputs-from"},
        {planted({"--density", "0.1"}), "--density has no effect without --inputs-draw sparse"},
        {planted({"--model", "m"}), "every cell would write the same file"},
        {planted({"--log=l"}), "every cell would write the same file"},
        {planted({"--aiht:model", "m"}), "every cell would write the same file"},
        {planted({"--aiht:hidden", "3"}), "--hidden is an axis"},
        {planted({"--aiht:"}), "--aiht:: the name of an option is missing"},
        {planted({"--magic:epochs", "3"}), "'magic' is no method of this sweep"},
        {planted({"--aiht:epochs"}), "--epochs needs a value"},
    };
    for (const Case &c : cases) {
        Outcome outcome = run(c.words);
        EXPECT_EQ(outcome.status, c.status) << c.message << outcome.err;
        EXPECT_NE(outcome.err.find(c.message), std::string::npos) << c.message << "\n"
                                                                  << outcome.err;
        EXPECT_FALSE(fs::exists(out)) << c.message;
    }
}

TEST_F(SweepCommand, FoldersThatCannotBeUsedAreNamed)
{
    std::ofstream(file("plain")) << "a file";
    for (const std::string &path : {file("plain"), file("none/there")}) {
        Words words = planted();
        words[3] = path;
        Outcome outcome = run(words);
        EXPECT_EQ(outcome.status, 1);
        EXPECT_NE(outcome.err.find(path), std::string::npos) << outcome.err;
    }
}

TEST_F(SweepCommand, ANumberThatNoResultHasEndsItWithTheFirstResults)
{
    Words once = planted({"--metric", "psnr", "--jobs", "1"});
    Outcome outcome = run(once);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_NE(outcome.err.find("no result has a number 'psnr'; there are"), std::string::npos)
        << outcome.err;
    EXPECT_NE(outcome.err.find("psnr_db, support_recall"), std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("inputs_draw"), std::string::npos) << outcome.err; // a word
    EXPECT_EQ(lines_of(record()).size(), 1u);
    EXPECT_EQ(run(once).status, 2);
    EXPECT_EQ(lines_of(record()).size(), 1u);
    outcome = run(planted({"--metric", "psnr_db"}));
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(lines_of(record()).size(), 8u);

    // One method may have numbers that the other has not.
    outcome = run(planted({"--metric", "rounds", "--method", "aiht,prune", "--prune:epochs", "1"}));
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(lines_of(record()).size(), 16u);
}

TEST_F(SweepCommand, RecordsThatAreNoRegularFilesAreRefused)
{
    fs::create_directory(out);
    ASSERT_EQ(mkfifo(record().c_str(), 0600), 0);
    for (int i = 0; i < 2; i++) {
        Outcome outcome = run(planted());
        EXPECT_EQ(outcome.status, 1);
        EXPECT_NE(outcome.err.find("cells.jsonl' is not a regular file"), std::string::npos)
            << outcome.err;
        fs::remove(record());
        fs::create_symlink("/dev/full", record());
    }
    fs::remove(record());
    ASSERT_EQ(mkfifo((out + "/sweep.json").c_str(), 0600), 0);
    Outcome outcome = run(planted());
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("sweep.json' is not a regular file"), std::string::npos)
        << outcome.err;
}

TEST_F(SweepCommand, QuietMeansSilenceAndHelpHelps)
{
    Outcome outcome = run(planted({"--quiet"}), [] { setenv("PATH", "/nowhere", 1); });
    EXPECT_EQ(outcome.status, 0);
    outcome = run(planted({"--quiet"}));
    if (has_gnuplot()) {
        EXPECT_EQ(outcome.err, "");
    }
    EXPECT_NE(outcome.out.find("8 of 8 done"), std::string::npos);
    Outcome help = run({"help", "sweep"});
    EXPECT_EQ(run({"sweep", "--help"}).out, help.out);
    EXPECT_EQ(run({"sweep", "planted", "-h"}).out, help.out);
}
