/* Protobuf's wire format: what is whole is read, what is cut, too long or unknown stays a fault. */
#include "onnx_fixture.h"

static bool next_of(const void *data, size_t size, myr_pb *pb, myr_pb_field *field)
{
    myr_pb_init(pb, data, size);
    return myr_pb_next(pb, field);
}

static void expect_fault(const void *data, size_t size, const char *part)
{
    myr_pb pb;
    myr_pb_field field;
    EXPECT(!next_of(data, size, &pb, &field));
    EXPECT(pb.fault != NULL);
    EXPECT_HAS(pb.fault, part);
    const char *fault = pb.fault;
    EXPECT(!myr_pb_next(&pb, &field) && pb.fault == fault); /* it stays */
}

TEST(protobuf_reads_each_wire_type)
{
    myr_buf buf = {0};
    myr_pb pb;
    myr_pb_field field;
    const double number = 1.5;
    const float narrow = -2.5f;
    put_int(&buf, 1, 300);
    put_int(&buf, MYR_PB_NUMBER_MAX, -1);
    put_text(&buf, 3, "text");
    put_tag(&buf, 4, 1);
    myr_buf_append(&buf, &number, 8);
    put_tag(&buf, 5, 5);
    myr_buf_append(&buf, &narrow, 4);
    put_text(&buf, 6, "");
    EXPECT(next_of(buf.data, buf.size, &pb, &field) && field.number == 1 && field.value == 300);
    EXPECT(myr_pb_next(&pb, &field) && field.number == MYR_PB_NUMBER_MAX && (int64_t)field.value == -1);
    EXPECT(myr_pb_next(&pb, &field) && field.wire == MYR_PB_BYTES && field.size == 4);
    EXPECT(memcmp(field.data, "text", 4) == 0);
    double wide;
    float single;
    EXPECT(myr_pb_next(&pb, &field) && myr_pb_doubles(&field, &wide) == 1 && wide == 1.5);
    EXPECT(myr_pb_next(&pb, &field) && myr_pb_floats(&field, &single) == 1 && single == -2.5f);
    EXPECT(myr_pb_next(&pb, &field) && field.size == 0);
    EXPECT(!myr_pb_next(&pb, &field) && pb.fault == NULL && pb.at == pb.end);
    EXPECT(!next_of(NULL, 0, &pb, &field) && pb.fault == NULL); /* nothing is a message too */
    myr_buf_fini(&buf);
}

TEST(protobuf_refuses_what_is_cut)
{
    expect_fault("\x80", 1, "end within a number");
    expect_fault("\x08", 1, "end before a number");
    expect_fault("\x08\x80", 2, "end within a number");
    expect_fault("\x0a", 1, "end before a length");
    expect_fault("\x0a\x02x", 3, "a length goes past the end");
    expect_fault("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "a length goes past the end");
    expect_fault("\x09"
                 "1234567",
                 8, "end within a fixed number");
    expect_fault("\x0d"
                 "123",
                 4, "end within a fixed number");
}

TEST(protobuf_bounds_its_numbers)
{
    myr_pb pb;
    myr_pb_field field;
    static const char ten[] = "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    EXPECT(next_of(ten, 11, &pb, &field) && field.value == UINT64_MAX);
    expect_fault("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, "more than 64 bits");
    expect_fault("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12, "more than 64 bits");
    EXPECT(next_of("\x08\x81\x80\x00", 4, &pb, &field) && field.value == 1); /* padded: writers may do that */
    expect_fault("\x00\x01", 2, "field number");
    expect_fault("\x80\x80\x80\x80\x10\x01", 6, "field number"); /* 2^29 */
    expect_fault("\x0b\x01", 2, "wire type");                    /* groups */
    expect_fault("\x0c\x01", 2, "wire type");
    expect_fault("\x0e\x01", 2, "wire type");
    expect_fault("\x0f\x01", 2, "wire type");
}

TEST(protobuf_reads_repeated_numbers_in_both_forms)
{
    myr_pb_field packed = {.wire = MYR_PB_BYTES, .data = (const unsigned char *)"\x01\xac\x02\x03", .size = 4};
    myr_pb_field single = {.wire = MYR_PB_VARINT, .value = 7};
    int64_t numbers[3];
    uint64_t count;
    EXPECT(myr_pb_count(&packed, MYR_PB_VARINT, &count) && count == 3);
    EXPECT(myr_pb_int64s(&packed, numbers) == 3 && numbers[0] == 1 && numbers[1] == 300 && numbers[2] == 3);
    EXPECT(myr_pb_count(&single, MYR_PB_VARINT, &count) && count == 1);
    EXPECT(myr_pb_int64s(&single, numbers) == 1 && numbers[0] == 7);
    EXPECT(!myr_pb_count(&single, MYR_PB_FIXED32, &count));
    packed.size = 2; /* ends within 300 */
    EXPECT(!myr_pb_count(&packed, MYR_PB_VARINT, &count));
    const float floats[2] = {1.0f, 2.0f};
    float got[2];
    packed.data = (const unsigned char *)floats;
    packed.size = sizeof floats;
    EXPECT(myr_pb_count(&packed, MYR_PB_FIXED32, &count) && count == 2 && myr_pb_floats(&packed, got) == 2);
    EXPECT(got[0] == 1.0f && got[1] == 2.0f);
    packed.size = 7;
    EXPECT(!myr_pb_count(&packed, MYR_PB_FIXED32, &count));
    packed.size = 0;
    EXPECT(myr_pb_count(&packed, MYR_PB_FIXED64, &count) && count == 0);
}

TEST(protobuf_survives_each_cut_and_each_byte)
{
    MYR_AUTO(myr_buf) model = make_tree_model("BRANCH_LEQ", 1, true);
    for (size_t size = 0; size <= model.size; size++) {
        MYR_AUTO(myr_mem) copy = myr_alloc(size + 1); /* so that ASan sees a read behind the end */
        memcpy(copy, model.data, size);
        myr_pb pb;
        myr_pb_field field;
        size_t fields = 0;
        myr_pb_init(&pb, copy, size);
        while (myr_pb_next(&pb, &field)) {
            fields++;
        }
        EXPECT(fields <= size && pb.at <= pb.end);
    }
}

RUN()
