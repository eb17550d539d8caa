//! What must hold at the end of every run, when everything has come to rest.

use crate::world::{SOURCE_TOPIC, World};

pub(crate) fn check(world: &mut World) -> Result<(), String> {
    let id = world.survivor().ok_or("no process runs at the end")?;
    let progress = world.instances.get(&id).ok_or("it is gone")?.shard.progress();
    let progress: Vec<_> = progress.map(|at| (world.is_read(&at), at)).collect();
    let instance = world.instances.get_mut(&id).ok_or("it is gone")?;
    for (is_read, at) in progress {
        let index = at.source.index;
        let truth = &world.truths[index as usize];
        let of_partition = |why| format!("partition {index}: {why}");
        if instance.stopped(&at, &world.plan, truth).map_err(of_partition)? {
            continue;
        }
        truth.check_complete().map_err(of_partition)?;
        if !is_read {
            return Err(of_partition(format!("the source goes on at {:?}", at.position)));
        }
        if instance.knows(index, truth)
            && let Some(offsets) = instance.shard.index_of(&SOURCE_TOPIC.into(), index)
        {
            truth.check_index(offsets).map_err(of_partition)?;
        }
    }
    let held_bytes = instance.shard.held_bytes();
    if held_bytes != 0 {
        return Err(format!("{held_bytes} bytes of the budget are in use at rest"));
    }
    Ok(())
}
