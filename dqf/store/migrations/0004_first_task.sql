-- What a variant's first task says, beside the variant: joining 10 000 scores took half of the pages' largest query.
-- Runs are taken in again, so that those known before have it too.

ALTER TABLE variants ADD COLUMN first_task TEXT;
ALTER TABLE variants ADD COLUMN first_metric TEXT;
ALTER TABLE variants ADD COLUMN first_n INTEGER;
ALTER TABLE variants ADD COLUMN tasks_n INTEGER;
ALTER TABLE variants ADD COLUMN score_ci95_low DOUBLE;
ALTER TABLE variants ADD COLUMN score_ci95_high DOUBLE;
UPDATE runs SET fingerprint = '';
