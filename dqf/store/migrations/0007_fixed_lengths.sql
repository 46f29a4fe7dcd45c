-- Which text lengths had graphs of their own while a variant was timed, and what they gained: JSON as in the result.

ALTER TABLE variants ADD COLUMN fixed_lengths_json TEXT;
