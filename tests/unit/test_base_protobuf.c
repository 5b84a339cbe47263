/* Writing protobuf's wire format; what reads it is in test_import_protobuf.c. */
#include "base/base.h"
#include "testing.h"

TEST(numbers_and_bytes_are_written_as_protobuf_does)
{
    myr_buf out = {0};
    const int64_t shape[] = {1, -1, 300};
    myr_pb_put_varint(&out, 1, 150);
    myr_pb_put_text(&out, 2, "testing");
    myr_pb_put_bytes(&out, 16, NULL, 0);
    myr_pb_put_packed(&out, 3, shape, 3);
    static const unsigned char wanted[] = {8,    150,  1,    0x12, 7,    't',  'e',  's', 't',  'i',
                                           'n',  'g',  0x82, 1,    0,    0x1a, 13,   1,   0xff, 0xff,
                                           0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,   0xac, 2};
    EXPECT_INT(out.size, sizeof wanted);
    EXPECT(memcmp(out.data, wanted, sizeof wanted) == 0);
    myr_buf_fini(&out);
}

/* Lengths of one, two and three bytes, nested. */
TEST(messages_inside_get_their_length)
{
    for (size_t size = 0; size < 70000; size += size < 300 ? 1 : 9973) {
        myr_buf out = {0};
        size_t outer = myr_pb_begin(&out, 1), inner = myr_pb_begin(&out, 2);
        for (size_t i = 0; i < size; i++)
            myr_buf_putc(&out, (char)i);
        myr_pb_end(&out, inner);
        myr_pb_put_varint(&out, 3, size);
        myr_pb_end(&out, outer);
        myr_pb pb, in;
        myr_pb_field field, text, number;
        myr_pb_init(&pb, out.data, out.size);
        EXPECT(myr_pb_next(&pb, &field) && field.number == 1 && pb.at == pb.end);
        myr_pb_init(&in, field.data, field.size);
        EXPECT(myr_pb_next(&in, &text) && text.number == 2 && text.size == size);
        for (size_t i = 0; i < size; i++)
            EXPECT(text.data[i] == (unsigned char)i);
        EXPECT(myr_pb_next(&in, &number) && number.value == size && in.at == in.end);
        myr_buf_fini(&out);
    }
}

TEST(short_memory_is_remembered)
{
    myr_buf out = {0};
    size_t mark = myr_pb_begin(&out, 1);
    myr_mem_fail_at(1);
    for (int i = 0; i < 1000; i++)
        myr_pb_put_text(&out, 2, "text");
    myr_pb_end(&out, mark);
    myr_mem_fail_at(0);
    EXPECT_RC(myr_buf_check(&out, NULL), NO_MEMORY, NULL);
    myr_buf_fini(&out);
}

RUN()
