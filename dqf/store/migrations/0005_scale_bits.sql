-- How many bits the scale of a group takes. Runs recorded before have FP16 scales and say nothing of it.

ALTER TABLE variants ADD COLUMN scale_bits INTEGER;
