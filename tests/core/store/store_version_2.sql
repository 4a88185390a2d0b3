-- A label store of schema version 2, dumped from the release that made it.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE current_label (
	query_id TEXT NOT NULL, 
	annotator_id TEXT NOT NULL, 
	answer TEXT, 
	event_id INTEGER NOT NULL, 
	PRIMARY KEY (query_id, annotator_id)
)
 WITHOUT ROWID

;
INSERT INTO "current_label" VALUES('q0','ann','left',1);
INSERT INTO "current_label" VALUES('q1','ann',NULL,3);
INSERT INTO "current_label" VALUES('q2','bob','skip',4);
CREATE TABLE label_event (
	id INTEGER NOT NULL, 
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
	PRIMARY KEY (id), 
	CONSTRAINT known_answer CHECK (answer IN ('left', 'right', 'tie', 'skip', 'undo')), 
	CONSTRAINT undo_of_something CHECK (answer <> 'undo' OR supersedes IS NOT NULL), 
	FOREIGN KEY(query_id) REFERENCES "query" (id), 
	UNIQUE (submission_key), 
	FOREIGN KEY(supersedes) REFERENCES label_event (id)
);
INSERT INTO "label_event" VALUES(1,'q0','ann','k0','left',NULL,999.5,1001.0,1200.0,'left-right','r1','0.1.0.dev0');
INSERT INTO "label_event" VALUES(2,'q1','ann','k1','right',NULL,NULL,1002.0,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(3,'q1','ann','k2','undo',2,NULL,1003.0,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(4,'q2','bob','k3','skip',NULL,NULL,1004.0,NULL,NULL,NULL,'0.1.0.dev0');
CREATE TABLE "query" (
	id TEXT NOT NULL, 
	left_item TEXT NOT NULL, 
	right_item TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	env_steps INTEGER NOT NULL, 
	priority FLOAT NOT NULL, 
	state TEXT DEFAULT 'open' NOT NULL, 
	leased_by TEXT, 
	leased_until FLOAT, 
	fence INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "query" VALUES('q0','left0','right0',1000.0,7,0.0,'answered',NULL,NULL,0);
INSERT INTO "query" VALUES('q1','left1','right1',1000.0,7,3.0,'open','bob',1125.0,1);
INSERT INTO "query" VALUES('q2','left2','right2',1000.0,7,2.0,'skipped',NULL,NULL,0);
INSERT INTO "query" VALUES('q3','left3','right3',1000.0,7,1.0,'open',NULL,NULL,0);
CREATE INDEX ix_query_open ON "query" (priority DESC, created_at, id) WHERE state = 'open';
CREATE INDEX ix_query_state ON "query" (state);
CREATE INDEX ix_current_label_event ON current_label (event_id);
CREATE TRIGGER label_event_no_update BEFORE UPDATE ON label_event BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END;
CREATE TRIGGER label_event_no_delete BEFORE DELETE ON label_event BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END;
CREATE TRIGGER label_event_no_replace BEFORE INSERT ON label_event WHEN EXISTS (SELECT 1 FROM label_event WHERE id = NEW.id OR submission_key = NEW.submission_key) BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END;
COMMIT;
PRAGMA user_version = 2;
