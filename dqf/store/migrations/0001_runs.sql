-- Runs, their variants, scores and stages, as result.json (schema version 1) tells them.
-- All times are UTC. Sizes are bytes, times of models milliseconds.

CREATE TABLE store_state (revision BIGINT NOT NULL);
INSERT INTO store_state VALUES (epoch_ms(now()));

CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    created TIMESTAMP,
    started TIMESTAMP,
    finished TIMESTAMP,
    preset TEXT,
    teacher TEXT,
    student TEXT,
    task TEXT,
    bits TEXT,
    quantizer TEXT,
    seed BIGINT,
    config_json TEXT,
    error TEXT,
    reference BOOLEAN NOT NULL,
    run_dir TEXT NOT NULL,
    hardware TEXT,
    threads INTEGER,
    baseline_runtime TEXT,
    environment_json TEXT,
    fingerprint TEXT NOT NULL
);

CREATE TABLE variants (
    run_id TEXT NOT NULL,
    variant_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    variant TEXT,
    model TEXT,
    bits INTEGER,
    quantizer TEXT,
    group_size INTEGER,
    "symmetric" BOOLEAN,
    runtime TEXT,
    runtime_candidates_json TEXT,
    params BIGINT,
    size_bytes BIGINT,
    size_bytes_expected BIGINT,
    tokenizer_bytes BIGINT,
    compression_ratio DOUBLE,
    score DOUBLE,
    retention DOUBLE,
    retention_ci95_low DOUBLE,
    retention_ci95_high DOUBLE,
    latency_ms_p50 DOUBLE,
    latency_ms_p90 DOUBLE,
    latency_ms_mean DOUBLE,
    latency_ms_sd DOUBLE,
    latency_n INTEGER,
    speedup DOUBLE,
    speedup_ci95_low DOUBLE,
    speedup_ci95_high DOUBLE,
    load_ms DOUBLE,
    peak_rss_bytes BIGINT,
    verified BOOLEAN,
    verification_relative_l2_error DOUBLE,
    verification_argmax_agreement DOUBLE,
    verification_tolerance DOUBLE,
    verification_n INTEGER,
    weights_sha256 TEXT,
    artifact TEXT,
    receipt TEXT,
    predictions TEXT,
    PRIMARY KEY (run_id, variant_id)
);

CREATE TABLE scores (
    run_id TEXT NOT NULL,
    variant_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    task TEXT NOT NULL,
    metric TEXT,
    value DOUBLE,
    n INTEGER,
    ci95_low DOUBLE,
    ci95_high DOUBLE,
    ci_method TEXT,
    PRIMARY KEY (run_id, variant_id, task)
);

CREATE TABLE stages (
    run_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    stage TEXT NOT NULL,
    title TEXT,
    key TEXT,
    cache TEXT,
    status TEXT,
    seconds DOUBLE,
    metrics_json TEXT,
    PRIMARY KEY (run_id, position)
);
