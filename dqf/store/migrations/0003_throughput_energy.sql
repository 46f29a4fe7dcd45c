-- Throughput in batches, energy, and parts of a task that are scored beside it (MNLI mismatched). Runs measured
-- before have none of them.

ALTER TABLE variants ADD COLUMN throughput_per_s DOUBLE;
ALTER TABLE variants ADD COLUMN throughput_batch INTEGER;
ALTER TABLE variants ADD COLUMN throughput_n INTEGER;
ALTER TABLE variants ADD COLUMN energy_j_per_1000 DOUBLE;
ALTER TABLE variants ADD COLUMN energy_source TEXT;
ALTER TABLE variants ADD COLUMN energy_watts_per_core DOUBLE;
ALTER TABLE scores ADD COLUMN extra BOOLEAN;
