/* Lists of requirements, and what pip says of them. Private to compute; the fuzz target sees it. */
#ifndef MYR_COMPUTE_REQUIREMENTS_H
#define MYR_COMPUTE_REQUIREMENTS_H

#include "base/base.h"

bool myr_requirements_have_hashes(myr_str text); /* --hash= of any package */
/*
 * A list that has some hashes must have one for each package; must_have: one without any is refused too. What -r and -c
 * name is pip's to check. *out_hashed: pip must be told to. name: of the list, for the message.
 * Errors: BAD_INPUT names list, line and package.
 */
myr_rc myr_requirements_check(const char *name, myr_str text, bool must_have, bool *out_hashed, myr_err *err);
/*
 * What pip wrote, if it is about a package that has not the hash of its list: UNAVAILABLE with list, line, package and
 * both hashes. MYR_OK: it is about something else.
 */
myr_rc myr_requirements_explain(myr_str output, myr_err *err);

#endif
