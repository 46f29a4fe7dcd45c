-- Where the predictions of a part lie that is scored beside the task (MNLI mismatched); empty for the task itself,
-- whose file the variant names. Runs that have such a part are taken in again.

ALTER TABLE scores ADD COLUMN predictions TEXT;
UPDATE runs SET fingerprint = '' WHERE run_id IN (SELECT run_id FROM scores WHERE extra);
