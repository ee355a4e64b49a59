// What every reader of files is put through: all truncations, additions, and a few thousand
// deterministic mutations of a good file.
#ifndef RELIHT_TESTS_HOSTILE_H
#define RELIHT_TESTS_HOSTILE_H

#include "support.h"

#include <fstream>
#include <functional>
#include <iterator>
#include <random>

namespace support
{

// A new file: some file systems flush one that is cut to nothing and written again, which is slow.
inline void put(const std::string &path, const std::string &bytes)
{
    std::filesystem::remove(path);
    std::ofstream(path, std::ios::binary) << bytes;
}

inline std::string contents(const std::string &path)
{
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

// Big-endian and little-endian numbers, for writing files by hand.
inline std::string big(uint64_t value, int bytes)
{
    std::string text;
    for (int i = bytes - 1; i >= 0; i--)
        text += (char)(value >> 8 * i);
    return text;
}

inline std::string little(uint64_t value, int bytes)
{
    std::string text;
    for (int i = 0; i < bytes; i++)
        text += (char)(value >> 8 * i);
    return text;
}

// Reads the file and releases what was made of it.
using Reader = std::function<reliht_status(reliht_context *)>;

inline void expect_clean(const Context &context, reliht_status status)
{
    if (status != RELIHT_OK) {
        EXPECT_NE(context.message(), "");
    }
    reliht_memory now;
    reliht_context_memory(context, &now, nullptr);
    EXPECT_EQ(now.data, 0u);
}

inline void expect_every_truncation_refused(const std::string &path, const std::string &good,
                                            const Reader &read)
{
    Context context(1);
    for (size_t length = 0; length < good.size(); length++) {
        put(path, good.substr(0, length));
        reliht_status status = read(context);
        EXPECT_TRUE(status == RELIHT_FORMAT || status == RELIHT_UNSUPPORTED)
            << length << " of " << good.size() << ": " << reliht_status_text(status);
        EXPECT_NE(context.message().find(path), std::string::npos) << context.message();
        expect_clean(context, status);
    }
    for (const std::string &more : {std::string("x"), std::string(8, '\0')}) {
        put(path, good + more);
        EXPECT_EQ(read(context), RELIHT_FORMAT) << context.message();
    }
    put(path, good);
    EXPECT_EQ(read(context), RELIHT_OK) << context.message();
}

// Each mutation changes one to four bytes, or cuts a piece out, or repeats one.
inline std::string mutated(const std::string &good, std::mt19937 &random)
{
    std::string bad = good;
    const size_t at = random() % bad.size();
    switch (random() % 8) {
    case 0:
        bad.erase(at, 1 + random() % 8);
        break;
    case 1:
        bad.insert(at, bad.substr(at, 1 + random() % 8));
        break;
    default:
        for (uint32_t changes = 1 + random() % 4; changes; changes--) {
            char &byte = bad[random() % bad.size()];
            const char interesting[] = {0, 1, (char)0xff, (char)0x7f, (char)0x80};
            byte = random() % 2 ? interesting[random() % 5] : (char)(byte ^ 1 << random() % 8);
        }
    }
    return bad;
}

inline void survive_mutations(const std::string &path, const std::string &good, const Reader &read,
                              int count = 1000)
{
    Context context(1);
    std::mt19937 random(12345);
    for (int i = 0; i < count; i++) {
        put(path, mutated(good, random));
        expect_clean(context, read(context));
    }
}

} // namespace support

#endif
