-- A label store of schema version 1, dumped from the release that made it.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE current_label (
	query_id TEXT NOT NULL, 
	annotator_id TEXT NOT NULL, 
	event_id INTEGER NOT NULL, 
	answer TEXT NOT NULL, 
	PRIMARY KEY (query_id, annotator_id), 
	FOREIGN KEY(query_id) REFERENCES "query" (id), 
	UNIQUE (event_id), 
	FOREIGN KEY(event_id) REFERENCES label_event (id)
);
INSERT INTO "current_label" VALUES('q0','ann',2,'right');
INSERT INTO "current_label" VALUES('q1','reviewer',4,'left');
INSERT INTO "current_label" VALUES('q2','ann',5,'skip');
INSERT INTO "current_label" VALUES('q3','other''s',7,'tie');
INSERT INTO "current_label" VALUES('q3','ann',6,'skip');
CREATE TABLE label_event (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	query_id TEXT NOT NULL, 
	annotator_id TEXT NOT NULL, 
	submission_key TEXT NOT NULL, 
	answer TEXT NOT NULL, 
	supersedes INTEGER, 
	shown_at FLOAT, 
	answered_at FLOAT NOT NULL, 
	client_ms FLOAT, 
	order_shown TEXT, 
	rubric_ver TEXT, 
	server_ver TEXT NOT NULL, 
	CONSTRAINT known_answer CHECK (answer IN ('left', 'right', 'tie', 'skip', 'undo')), 
	CONSTRAINT undo_of_something CHECK (answer <> 'undo' OR supersedes IS NOT NULL), 
	FOREIGN KEY(query_id) REFERENCES "query" (id), 
	UNIQUE (submission_key), 
	FOREIGN KEY(supersedes) REFERENCES label_event (id)
);
INSERT INTO "label_event" VALUES(1,'q0','ann','k0','left',NULL,1700000000.0,1.79545523336963105207e+09,830.5,'right first','2','0.1.0.dev0');
INSERT INTO "label_event" VALUES(2,'q0','ann','k1','right',1,NULL,1.79545523337925410269e+09,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(3,'q1','ann','k2','tie',NULL,NULL,1.79545523338681149477e+09,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(4,'q1','reviewer','k3','left',3,NULL,1.79545523339121794697e+09,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(5,'q2','ann','k4','skip',NULL,NULL,1795455233.39458,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(6,'q3','ann','k5','skip',NULL,NULL,1.79545523339860773085e+09,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(7,'q3','other''s','k6','tie',NULL,NULL,1.79545523340234065056e+09,NULL,NULL,NULL,'0.1.0.dev0');
CREATE TABLE lease (
	query_id TEXT NOT NULL, 
	annotator_id TEXT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	PRIMARY KEY (query_id), 
	FOREIGN KEY(query_id) REFERENCES "query" (id)
);
CREATE TABLE "query" (
	id TEXT NOT NULL, 
	left_item TEXT NOT NULL, 
	right_item TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	env_steps INTEGER NOT NULL, 
	priority FLOAT NOT NULL, 
	state TEXT DEFAULT 'open' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "query" VALUES('q0','left0','right0',1.79545523336363697054e+09,2048,0.0,'answered');
INSERT INTO "query" VALUES('q1','left1','right1',1.79545523336363697054e+09,2048,0.25,'answered');
INSERT INTO "query" VALUES('q2','left2','right2',1.79545523336363697054e+09,2048,0.5,'skipped');
INSERT INTO "query" VALUES('q3','left3','right3',1.79545523336363697054e+09,2048,0.125,'answered');
INSERT INTO "query" VALUES('q4','left4','right4',1.79545523336363697054e+09,2048,0.0,'open');
CREATE TABLE tally (
	state TEXT NOT NULL, 
	queries INTEGER NOT NULL, 
	PRIMARY KEY (state)
);
INSERT INTO "tally" VALUES('open',1);
INSERT INTO "tally" VALUES('answered',3);
INSERT INTO "tally" VALUES('skipped',1);
CREATE INDEX ix_query_urgency ON "query" (state, priority DESC, created_at, id);
CREATE INDEX ix_label_event_supersedes ON label_event (supersedes);
CREATE INDEX ix_label_event_current ON label_event (query_id, annotator_id, id);
CREATE TRIGGER label_event_no_update BEFORE UPDATE ON label_event BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END;
CREATE TRIGGER label_event_no_delete BEFORE DELETE ON label_event BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END;
CREATE TRIGGER label_event_no_replace BEFORE INSERT ON label_event WHEN EXISTS (SELECT 1 FROM label_event WHERE id = NEW.id OR submission_key = NEW.submission_key) BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('label_event',7);
COMMIT;
PRAGMA user_version = 1;
