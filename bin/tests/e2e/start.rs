//! How a start ends that cannot succeed.

use std::time::Duration;

use anyhow::Result;

use crate::support::Mirror;

#[test]
fn a_wrong_file_is_one_line_and_exit_code_3() -> Result<()> {
    let mut mirror = Mirror::start(
        "clusters = a, b\n\
         a.bootstrap.servers = 127.0.0.1:1\n\
         b.bootstrap.servers = 127.0.0.1:2\n\
         a->b.enabled = true\n\
         tasks.max = many\n",
    )?;
    let status = mirror.wait(Duration::from_secs(10))?;
    let log = mirror.log();
    assert_eq!(status.code(), Some(3), "{log}");
    let errors: Vec<_> = log.lines().filter(|line| line.contains("mm2.properties")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert!(errors[0].contains("mm2.properties:5") && errors[0].contains("tasks.max"), "{log}");
    Ok(())
}
