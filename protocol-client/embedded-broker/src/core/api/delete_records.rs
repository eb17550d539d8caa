//! DeleteRecords (21), versions 0-2; -1 is the high watermark.

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, ResponseKind};

use super::super::{Broker, Call, Outcome};

pub(in crate::core) fn handle(
    broker: &mut Broker,
    call: &Call,
    request: DeleteRecordsRequest,
) -> Outcome {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let index = asked.partition_index;
            let led = broker.led(call, &topic.name, index).map(|_| ());
            let start = led.and_then(|()| broker.delete_records(&topic.name, index, asked.offset));
            let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
            match start {
                Ok(start) => result.with_low_watermark(start),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    });
    let response = DeleteRecordsResponse::default().with_topics(topics.collect());
    Outcome::message(ResponseKind::DeleteRecords(response))
}
