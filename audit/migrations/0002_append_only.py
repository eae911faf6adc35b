"""Triggers that hold the log append-only, for the owner of the tables too.

Row triggers are ENABLE ALWAYS: even a superuser's session_replication_role does not get past them. TRUNCATE is
left open to exactly that, which is how tests empty their tables; a role that is no superuser cannot set it. What
passes everything is ALTER TABLE … DISABLE TRIGGER, and for that there are the chain and its signed checkpoints.
"""

from typing import ClassVar

from django.db import migrations

_FUNCTION = """
CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: the audit log is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
"""
_APPEND_ONLY = """
CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_rows;
"""
_FORWARD_ONLY = """
CREATE FUNCTION audit_refuse_turning_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'UPDATE on % refused: the head of a chain moves forward, one row at a time', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER forward_only BEFORE UPDATE ON audit_chainhead
    FOR EACH ROW WHEN (NEW.owner_id <> OLD.owner_id OR NEW.seq <> OLD.seq + 1)
    EXECUTE FUNCTION audit_refuse_turning_back();
CREATE TRIGGER append_only_rows BEFORE DELETE ON audit_chainhead
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON audit_chainhead
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
ALTER TABLE audit_chainhead ENABLE ALWAYS TRIGGER forward_only, ENABLE ALWAYS TRIGGER append_only_rows;
-- One row per owner, rewritten with every record: leave room for the new version on the same page.
ALTER TABLE audit_chainhead SET (fillfactor = 10);
"""
_DROP = """
DROP TRIGGER append_only_rows ON audit_auditevent;
DROP TRIGGER append_only_table ON audit_auditevent;
DROP TRIGGER append_only_rows ON audit_checkpoint;
DROP TRIGGER append_only_table ON audit_checkpoint;
DROP TRIGGER forward_only ON audit_chainhead;
DROP TRIGGER append_only_rows ON audit_chainhead;
DROP TRIGGER append_only_table ON audit_chainhead;
DROP FUNCTION audit_refuse_change();
DROP FUNCTION audit_refuse_turning_back();
ALTER TABLE audit_chainhead RESET (fillfactor);
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0001_initial")]
    operations: ClassVar = [
        migrations.RunSQL(
            sql=_FUNCTION
            + _APPEND_ONLY.format(table="audit_auditevent")
            + _APPEND_ONLY.format(table="audit_checkpoint")
            + _FORWARD_ONLY,
            reverse_sql=_DROP,
        )
    ]
