/*
 * The floor of a batch run: the same DuckDB, linked the same way, reads a table and writes the same columns with
 * constants in place of answers. Usage: floor INPUT OUTPUT_DIR [PARTITION_COLUMN [COLUMNS]]; a partition column of ""
 * is none. run.py times it.
 */
#include <duckdb.h>
#include <stdio.h>
#include <stdlib.h>

static void run(duckdb_connection connection, const char *sql)
{
    duckdb_result result;
    if (duckdb_query(connection, sql, &result) != DuckDBSuccess) {
        fprintf(stderr, "floor: %s\n", duckdb_result_error(&result));
        exit(1);
    }
    duckdb_destroy_result(&result);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: floor INPUT OUTPUT_DIR [PARTITION_COLUMN [COLUMNS]]\n");
        return 64;
    }
    duckdb_database database;
    duckdb_connection connection;
    if (duckdb_open(NULL, &database) != DuckDBSuccess || duckdb_connect(database, &connection) != DuckDBSuccess)
        return 1;
    run(connection, "SET autoinstall_known_extensions = false; SET autoload_known_extensions = false");
    char sql[4096], options[256] = "PER_THREAD_OUTPUT true";
    const char *columns = argc > 4 ? argv[4]
                                   : "store, brand, logmove, week + price1 + deal + feat AS prediction, "
                                     "'oj@store=2,brand=1' AS model, 1::BIGINT AS model_version, "
                                     "'segment' AS level, 'ok' AS status";
    if (argc > 3 && argv[3][0] != '\0') (void)snprintf(options, sizeof options, "PARTITION_BY (\"%s\")", argv[3]);
    (void)snprintf(sql, sizeof sql, "COPY (SELECT %s FROM '%s') TO '%s' (FORMAT parquet, %s)", columns, argv[1],
                   argv[2], options);
    run(connection, sql);
    duckdb_disconnect(&connection);
    duckdb_close(&database);
    return 0;
}
