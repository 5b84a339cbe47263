/* Properties of librdkafka as people write them: NAME=VALUE, in a file one a line. */
#include <stdio.h>
#include <string.h>

#include "stream/stream.h"

#define PROPERTIES_BYTES_MAX (1 << 20)

myr_rc myr_stream_property_parse(const char *where, char *text, myr_stream_property *out, myr_err *err)
{
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text)
        MYR_FAIL(err, BAD_USAGE, "%s is no Kafka property: NAME=VALUE, as in security.protocol=SASL_SSL", where);
    *equals = '\0';
    *out = (myr_stream_property){text, equals + 1};
    return MYR_OK;
}

myr_rc myr_stream_properties_load(const char *path, myr_arena *arena, size_t max, myr_stream_property *out,
                                  size_t *out_count, myr_err *err)
{
    char *data = NULL, where[MYR_PATH_BYTES_MAX + 32];
    size_t size = 0, count = 0;
    int number = 0;
    MYR_TRY(myr_file_read(path, PROPERTIES_BYTES_MAX, &data, &size, err));
    char *text = myr_arena_strndup(arena, data, size);
    myr_free(data);
    if (text == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the Kafka properties");
    for (char *line = text, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL) *next++ = '\0';
        myr_str word = myr_str_trim(myr_str_of(line));
        number++;
        if (word.size == 0 || word.data[0] == '#') continue;
        char *start = line + (word.data - line);
        start[word.size] = '\0';
        (void)snprintf(where, sizeof where, "%s:%d", path, number);
        if (count == max) MYR_FAIL(err, BAD_USAGE, "%s: more than %zu Kafka properties", where, max);
        MYR_TRY(myr_stream_property_parse(where, start, &out[count], err));
        count++;
    }
    *out_count = count;
    return MYR_OK;
}
