-- A label store of schema version 1, dumped from the release that made it.
BEGIN TRANSACTION;
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
	CONSTRAINT known_answer CHECK (answer IN ('left', 'right', 'tie', 'skip')), 
	FOREIGN KEY(query_id) REFERENCES "query" (id), 
	UNIQUE (submission_key), 
	FOREIGN KEY(supersedes) REFERENCES label_event (id)
);
INSERT INTO "label_event" VALUES(1,'q0','ann','k0','left',NULL,1700000000.0,1700000003.0,830.5,'right first','2','0.1.0.dev0');
INSERT INTO "label_event" VALUES(2,'q0','ann','k1','right',1,NULL,1700000004.5,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(3,'q1','ann','k2','tie',NULL,NULL,1700000006.0,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(4,'q1','reviewer','k3','left',3,NULL,1700000007.5,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(5,'q2','ann','k4','skip',NULL,NULL,1700000009.0,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(6,'q3','ann','k5','skip',NULL,NULL,1700000010.5,NULL,NULL,NULL,'0.1.0.dev0');
INSERT INTO "label_event" VALUES(7,'q3','other''s','k6','tie',NULL,NULL,1700000012.0,NULL,NULL,NULL,'0.1.0.dev0');
CREATE TABLE "query" (
	id TEXT NOT NULL, 
	left_item TEXT NOT NULL, 
	right_item TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	env_steps INTEGER NOT NULL, 
	priority FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "query" VALUES('q0','left0','right0',1700000001.5,2048,0.0);
INSERT INTO "query" VALUES('q1','left1','right1',1700000001.5,2048,0.25);
INSERT INTO "query" VALUES('q2','left2','right2',1700000001.5,2048,0.5);
INSERT INTO "query" VALUES('q3','left3','right3',1700000001.5,2048,0.125);
INSERT INTO "query" VALUES('q4','left4','right4',1700000001.5,2048,0.0);
CREATE INDEX ix_label_event_supersedes ON label_event (supersedes);
CREATE INDEX ix_label_event_current ON label_event (query_id, annotator_id, id);
CREATE VIEW current_label AS SELECT e.* FROM label_event AS e WHERE e.id = (
    SELECT max(n.id) FROM label_event AS n
    WHERE n.query_id = e.query_id AND n.annotator_id = e.annotator_id
    AND NOT EXISTS (SELECT 1 FROM label_event AS s WHERE s.supersedes = n.id)
);
CREATE TRIGGER label_event_no_update BEFORE UPDATE ON label_event BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END;
CREATE TRIGGER label_event_no_delete BEFORE DELETE ON label_event BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END;
CREATE TRIGGER label_event_no_replace BEFORE INSERT ON label_event WHEN EXISTS (SELECT 1 FROM label_event WHERE id = NEW.id OR submission_key = NEW.submission_key) BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('label_event',7);
COMMIT;
PRAGMA user_version = 1;
