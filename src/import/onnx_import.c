/* ONNX files whose graph is one of our models. */
#include "import/onnx.h"

myr_rc myr_import_onnx(const myr_import_src *src, myr_imported *out, myr_err *err)
{
    myr_onnx onnx = {.src = src, .arena = out->arena, .err = err};
    MYR_TRY(myr_onnx_parse(&onnx));
    MYR_ONNX_FAIL(&onnx, UNSUPPORTED, "no operator of this graph is read yet");
}
