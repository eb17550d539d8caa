//! What must hold at the end of every run, when everything has come to rest.

use engine::flow::shard::PartitionState;

use crate::world::World;

pub(crate) fn check(world: &World) -> Result<(), String> {
    let instance = world.survivor().ok_or("no process runs at the end")?;
    for at in instance.shard.progress() {
        let index = at.source.index;
        let truth = &world.truths[index as usize];
        if at.state == PartitionState::Failed {
            return Err(format!("partition {index} has stopped"));
        }
        truth.check_complete().map_err(|why| format!("partition {index}: {why}"))?;
        let end = world.source_log(index).map(|log| log.end_offset());
        if at.position != end {
            return Err(format!(
                "partition {index}: the position is {:?}, the source ends at {end:?}",
                at.position
            ));
        }
    }
    let held_bytes = instance.shard.held_bytes();
    if held_bytes != 0 {
        return Err(format!("{held_bytes} bytes of the budget are in use at rest"));
    }
    Ok(())
}
