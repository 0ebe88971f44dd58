-- Messages from users' own transactions, which workers deliver after the commit. And a name, by which a connection of a
-- user is recognised as one to this very store.
CREATE TABLE @outbox (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ns text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL, kind text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL,
    payload bytea NOT NULL, at float8 NOT NULL);
CREATE INDEX outbox_order ON @outbox (ns, n);
INSERT INTO @meta VALUES ('identity', gen_random_uuid()::text);
