-- `pg_restore` makes indexes without a search path: a function that one of them calls must name the schema of those
-- that it calls itself.

CREATE OR REPLACE FUNCTION json_extract(document text, path text) RETURNS text LANGUAGE sql IMMUTABLE
AS $$ SELECT moongate.json_document(document) #>> string_to_array(substr(path, 3), '.') $$;
CREATE OR REPLACE FUNCTION json_set(document text, path text, value text) RETURNS text LANGUAGE sql IMMUTABLE
AS $$
    SELECT jsonb_set(moongate.json_document(document)::jsonb, string_to_array(substr(path, 3), '.'), to_jsonb(value))::text
$$;
