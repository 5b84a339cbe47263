/* Small texts of gRPC over HTTP/2: time-outs, content types, lists of codings, escaped messages. */
#include <string.h>

#include "net/rpc_inside.h"

#define TIMEOUT_DIGITS_MAX 8

bool myr_rpc_timeout_parse(myr_str text, int64_t *out_ns)
{
    static const struct {
        char unit;
        int64_t ns;
    } units[] = {{'n', 1},          {'u', 1000},          {'m', 1000000},
                 {'S', 1000000000}, {'M', 60000000000LL}, {'H', 3600000000000LL}};
    if (text.size < 2 || text.size > TIMEOUT_DIGITS_MAX + 1) return false;
    int64_t number = 0;
    for (size_t i = 0; i + 1 < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        number = number * 10 + (text.data[i] - '0');
    }
    for (size_t i = 0; i < MYR_COUNT_OF(units); i++) {
        if (text.data[text.size - 1] != units[i].unit) continue;
        /* 99,999,999 hours are more than 64 bits of nanoseconds: as good as none */
        if (__builtin_mul_overflow(number, units[i].ns, out_ns)) *out_ns = INT64_MAX;
        return true;
    }
    return false;
}

bool myr_rpc_is_content_type(myr_str text)
{
    static const char name[] = "application/grpc";
    size_t size = sizeof name - 1;
    if (text.size < size || memcmp(text.data, name, size) != 0) return false;
    return text.size == size || text.data[size] == '+' || text.data[size] == ';';
}

size_t myr_rpc_escape(const char *text, char out[RPC_ERROR_BYTES + 1])
{
    static const char hex[] = "0123456789ABCDEF";
    size_t size = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0' && size + 3 <= RPC_ERROR_BYTES; p++) {
        if (*p >= 0x20 && *p <= 0x7e && *p != '%') {
            out[size++] = (char)*p;
        } else {
            out[size++] = '%';
            out[size++] = hex[*p >> 4];
            out[size++] = hex[*p & 15];
        }
    }
    out[size] = '\0';
    return size;
}

bool myr_rpc_list_has(myr_str list, myr_str name)
{
    myr_str part;
    while (myr_str_split(&list, ',', &part)) {
        if (myr_str_equal(myr_str_trim(part), name)) return true;
    }
    return false;
}
