-- Mixed precision: bits per quantized weight are an average then.

ALTER TABLE variants ALTER COLUMN bits TYPE DOUBLE;
