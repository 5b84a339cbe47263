/* The picture: wrapping, and that no two boxes of any tree overlap. The SVG as a whole is read back in tests/system. */
#include "advise_fixture.h"

#include "advise/picture.h"

TEST(wrap_keeps_every_word_and_the_width)
{
    static const char *const texts[] = {"one two three four five six",
                                        "Donaudampfschifffahrtsgesellschaftskapitän",
                                        "a",
                                        "   ",
                                        "",
                                        "WWWW WWWWWWWWWWWWWWWWWWWWWWWW i i i i i i",
                                        "\xe4\xb8\xad\xe6\x96\x87\xe5\xad\x97\xe7\xac\xa6\xe4\xb8\xad\xe6\x96\x87"};
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++) {
        for (double width = 20; width < 200; width += 15) {
            myr_str lines[PICTURE_LINES_MAX];
            size_t letters = 0, wanted = 0;
            uint32_t count = myr_picture_wrap(texts[i], width, 12, false, lines);
            for (uint32_t j = 0; j < count; j++) {
                EXPECT(lines[j].size > 0 && lines[j].data[0] != ' ');
                EXPECT(myr_utf8_is_valid(lines[j]));
                EXPECT(myr_picture_text_width(lines[j], 12, false) <= width);
                for (size_t k = 0; k < lines[j].size; k++) {
                    letters += lines[j].data[k] != ' ';
                }
            }
            for (const char *c = texts[i]; *c != '\0'; c++) {
                wanted += *c != ' ';
            }
            EXPECT_INT(letters, wanted);
        }
    }
}

TEST(bold_and_wide_are_wider)
{
    myr_str i = myr_str_of("iii"), w = myr_str_of("WWW");
    EXPECT(myr_picture_text_width(i, 10, false) < myr_picture_text_width(w, 10, false));
    EXPECT(myr_picture_text_width(i, 10, false) < myr_picture_text_width(i, 10, true));
    EXPECT(myr_picture_text_width(i, 10, false) < myr_picture_text_width(i, 11, false));
    EXPECT(myr_picture_text_width(myr_str_of(""), 10, false) == 0);
}

/* Boxes with what belongs above them (the words on the line) and the gap beside them, pairwise. */
static void no_overlap(const myr_picture *picture)
{
    for (uint32_t i = 0; i < picture->box_count; i++) {
        const myr_picture_box *a = &picture->boxes[i];
        EXPECT(a->x >= 0 && a->y >= 0 && a->x + PICTURE_BOX_WIDTH <= picture->width);
        EXPECT(a->centre >= a->y && a->centre <= a->y + a->height);
        if (a->parent != MYR_ADVISE_NONE) EXPECT(picture->boxes[a->parent].x + PICTURE_BOX_WIDTH < a->x);
        for (uint32_t j = 0; j < i; j++) {
            const myr_picture_box *b = &picture->boxes[j];
            bool apart = a->x + PICTURE_BOX_WIDTH < b->x || b->x + PICTURE_BOX_WIDTH < a->x ||
                         a->y + a->height < b->y || b->y + b->height < a->y;
            EXPECT(apart);
        }
    }
}

TEST(no_two_boxes_overlap)
{
    static const fixture_size sizes[] = {
        {.questions = 2, .options = 2, .ends = 2},
        {.questions = 12, .options = 2, .ends = 2},
        {.questions = 3, .options = 12, .nodes = 125, .ends = 12},
        {.questions = 12, .options = 12, .nodes = 116, .ends = 12, .title_bytes = 80, .text_bytes = 240}};
    for (size_t i = 0; i <= MYR_COUNT_OF(sizes); i++) {
        MYR_AUTO(myr_buf) text = {0};
        MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
        myr_err err = {0};
        if (i < MYR_COUNT_OF(sizes)) fixture_generate(&sizes[i], &text);
        myr_advise_trees *trees = i < MYR_COUNT_OF(sizes) ? fixture_trees(text.data) : fixture_builtin();
        for (uint32_t t = 0; t < 2; t++) {
            myr_picture picture = {0};
            EXPECT_RC(myr_picture_lay(trees, NULL, t, 0, arena, &picture, &err), OK, &err);
            EXPECT_INT(picture.box_count, trees->trees[t].node_count + trees->leaf_counts[t]);
            no_overlap(&picture);
            if (picture.box_count > 0) EXPECT(picture.boxes[0].y + picture.boxes[0].height <= picture.height);
        }
        myr_advise_free(trees);
    }
}

TEST(svg_marks_the_way_and_escapes)
{
    char *text = fixture_mini_with("title: Here", "title: \"<Here> & 'now' \\\"x\\\"\"");
    myr_advise_trees *trees = fixture_trees(text);
    myr_advise_answers answers = {0};
    myr_advice advice = {0};
    myr_err err = {0};
    MYR_AUTO(myr_buf) svg = {0}, plain = {0};
    fixture_answer(trees, &answers, "pace", "slow");
    EXPECT_RC(myr_advise_walk(trees, &answers, &advice, &err), OK, &err);
    EXPECT_RC(myr_advise_svg(trees, &advice, &svg, &err), OK, &err);
    EXPECT_HAS(svg.data, "&lt;Here&gt; &amp; 'now' \"x\"");
    EXPECT_HAS(svg.data, "class=\"took\"");
    EXPECT_HAS(svg.data, "class=\"tick\"");
    EXPECT_HAS(svg.data, "1. pace = slow: slow is yes");
    EXPECT_RC(myr_advise_svg(trees, NULL, &plain, &err), OK, &err);
    EXPECT(strstr(plain.data, "class=\"took\"") == NULL && strstr(plain.data, "class=\"panel\"") == NULL);
    myr_advise_free(trees);
    myr_free(text);
}

TEST(short_memory_while_drawing)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    myr_advise_answers answers = {0};
    myr_advice advice = {0};
    fixture_answer(trees, &answers, "pace", "slow");
    EXPECT_RC(myr_advise_walk(trees, &answers, &advice, NULL), OK, NULL);
    FAIL_EACH_ALLOC (nth) {
        myr_buf svg = {0};
        myr_rc rc = myr_advise_svg(trees, &advice, &svg, NULL);
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
        if (rc == MYR_OK) EXPECT_HAS(svg.data, "</svg>");
        myr_buf_fini(&svg);
    }
    myr_advise_free(trees);
}

RUN()
