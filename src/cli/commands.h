/* One function per command; see cli.h. */
#ifndef MYR_CLI_COMMANDS_H
#define MYR_CLI_COMMANDS_H

#include "cli/cli.h"

myr_rc myr_cmd_init(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_train(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_model_import(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_model_list(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_model_show(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_release_create(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_release_list(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_release_promote(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_release_rollback(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_batch_run(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_sql(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_batch_resume(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_batch_retry(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_batch_list(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_batch_status(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_batch_show(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_batch_logs(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_batch_cancel(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_batch_worker(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_pack_info(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_pack_verify(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_pack_diff(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_pack_compact(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_scheduler(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_schedule_list(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_schedule_next(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_schedule_pause(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_schedule_resume(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_schedule_run(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_schedule_cancel(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_schedule_backfill(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_schedule_history(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_environment_list(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_environment_show(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_environment_prune(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_predict(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_features_load(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_features_get(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_discover(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_serve(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_stream(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_token_create(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_token_list(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_token_revoke(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_version(int argc, char **argv, myr_err *err);
myr_rc myr_cmd_advise(int argc, char **argv, myr_err *err);

#endif
