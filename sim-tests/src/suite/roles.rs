//! What the server lets whom do.

use super::{Capability, Needs, Outcome, Stage, subject};
use helenus::{Certainty, ErrorKind, Session};
use std::time::Duration;

subject! { "roles";
    what_belongs_to_the_server_is_unauthorized,
    a_role_may_do_what_it_was_granted_and_nothing_else: Needs::PASSWORD.with(&[Capability::Roles]),
    a_role_that_may_not_log_in_is_refused: Needs::PASSWORD.with(&[Capability::Roles]),
}

async fn what_belongs_to_the_server_is_unauthorized(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    for statement in ["DROP TABLE system.local", "ALTER TABLE system_schema.tables ADD x int", "DROP KEYSPACE system"] {
        let error = session.query(statement).execute().await.err().ok_or("it was allowed")?;
        assert!(matches!(error.kind(), ErrorKind::Unauthorized(_)), "{statement}: {error}");
        assert_eq!((error.certainty(), error.attempts().len()), (Certainty::Rejected, 1), "{statement}");
    }
    Ok(())
}

/// Creates a role of the test's own; answers its name, which is also its password.
async fn create_role(stage: &Stage, session: &Session, options: &str) -> Result<String, helenus::Error> {
    let role = format!("r_{}", stage.keyspace());
    session.query(format!("DROP ROLE IF EXISTS {role}")).execute().await?;
    session.query(format!("CREATE ROLE {role} WITH PASSWORD = '{role}' AND {options}")).execute().await?;
    Ok(role)
}

async fn a_role_may_do_what_it_was_granted_and_nothing_else(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    let role = create_role(&stage, &session, "LOGIN = true").await?;
    let guest = stage.connect(stage.builder().credentials(&role, &role).keyspace(stage.keyspace())).await?;
    let error = guest.query("SELECT id FROM t").execute().await.err().ok_or("nothing was granted")?;
    let ErrorKind::Unauthorized(text) = error.kind() else { panic!("{error}") };
    assert!(text.contains(&role) && text.contains("SELECT"), "{text}");
    assert_eq!((error.certainty(), error.attempts().len()), (Certainty::Rejected, 1));

    session.query(format!("GRANT SELECT ON TABLE t TO {role}")).execute().await?;
    // Nodes remember permissions for a moment.
    stage
        .eventually(Duration::from_secs(30), "the role may read", async || {
            guest.query("SELECT id FROM t").execute().await.is_ok()
        })
        .await?;
    for statement in ["INSERT INTO t (id) VALUES (1)", "DROP TABLE t", "CREATE TABLE other (id int PRIMARY KEY)"] {
        let error = guest.query(statement).execute().await.err().ok_or("only reading was granted")?;
        assert!(matches!(error.kind(), ErrorKind::Unauthorized(_)), "{statement}: {error}");
    }
    session.query(format!("DROP ROLE {role}")).execute().await?;
    Ok(())
}

async fn a_role_that_may_not_log_in_is_refused(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let role = create_role(&stage, &session, "LOGIN = false").await?;
    let error = stage.builder().credentials(&role, &role).connect().await.err().ok_or("it was let in")?;
    let ErrorKind::Authentication(text) = error.kind() else { panic!("{error}") };
    assert!(text.contains("not permitted to log in"), "{text}");
    session.query(format!("DROP ROLE {role}")).execute().await?;
    Ok(())
}
