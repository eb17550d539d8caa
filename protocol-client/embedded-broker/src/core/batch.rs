//! What a broker checks in a produced batch, and how it stores it: header patched, records as they came.
//!
//! Rules and their order: Kafka's `ProduceRequest#validateRecords`, `UnifiedLog#analyzeAndValidateRecords`
//! and `LogValidator`.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError as KafkaError;
use protocol_client::batch::{BatchError, BatchHeader, Compression, HEADER_BYTES};

use super::records;

/// Batches up to this size are stored in one piece; larger ones share the payload of the request.
const WHOLE_COPY_MAX_BYTES: usize = 4096;
const LOG_APPEND_TIME_BIT: i16 = 0x08;

/// A batch in a log: offsets and epoch set, everything else as the producer sent it.
#[derive(Debug, Clone)]
pub struct StoredBatch {
    /// The header, and for small batches the records too.
    head: Bytes,
    /// The records of large batches: a slice of the request they came in.
    tail: Bytes,
    base_offset: i64,
    last_offset: i64,
    max_timestamp: i64,
}

impl StoredBatch {
    /// Length of the whole batch, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Offset of the first record, or of the one that stood there before compaction.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Offset of the last record, or of the one that stood there before compaction.
    pub fn last_offset(&self) -> i64 {
        self.last_offset
    }

    /// Largest timestamp of the batch, in milliseconds.
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// The batch in one piece; copies when it is stored in two.
    pub fn to_bytes(&self) -> Bytes {
        if self.tail.is_empty() {
            return self.head.clone();
        }
        let mut whole = BytesMut::with_capacity(self.len_bytes());
        whole.put_slice(&self.head);
        whole.put_slice(&self.tail);
        whole.freeze()
    }

    /// Pushes the batch's bytes, cut after `limit_bytes`, without copying.
    pub fn push_pieces(&self, limit_bytes: usize, pieces: &mut Vec<Bytes>) {
        pieces.push(self.head.slice(..self.head.len().min(limit_bytes)));
        let rest = limit_bytes.saturating_sub(self.head.len()).min(self.tail.len());
        if rest > 0 {
            pieces.push(self.tail.slice(..rest));
        }
    }

    /// The header's fields.
    pub fn fields(&self) -> BatchFields {
        BatchFields::read(&self.head)
    }

    /// The records' bytes, compressed or not.
    pub fn payload(&self) -> Bytes {
        if self.tail.is_empty() { self.head.slice(HEADER_BYTES..) } else { self.tail.clone() }
    }

    /// Wraps a whole batch whose header is right already.
    pub fn from_whole(batch: Bytes) -> Self {
        let fields = BatchFields::read(&batch);
        let (head, tail) = split(batch);
        Self {
            head,
            tail,
            base_offset: fields.base_offset,
            last_offset: fields.last_offset(),
            max_timestamp: fields.max_timestamp,
        }
    }
}

fn split(batch: Bytes) -> (Bytes, Bytes) {
    if batch.len() <= WHOLE_COPY_MAX_BYTES {
        (Bytes::copy_from_slice(&batch), Bytes::new())
    } else {
        (Bytes::copy_from_slice(&batch[..HEADER_BYTES]), batch.slice(HEADER_BYTES..))
    }
}

/// The header's fields as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFields {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Codec, timestamp type, transactional, control and delete-horizon bits.
    pub attributes: i16,
    /// Offset of the last record minus the base offset.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas count from, in milliseconds.
    pub base_timestamp: i64,
    /// Largest timestamp of the batch, in milliseconds.
    pub max_timestamp: i64,
    /// The producer, or -1.
    pub producer_id: i64,
    /// The producer's epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
    /// Epoch of the leader that appended the batch.
    pub partition_leader_epoch: i32,
}

impl BatchFields {
    /// Reads the fields of a batch whose header was checked before; the records may lie elsewhere.
    ///
    /// # Panics
    /// When there are fewer bytes than a header has.
    pub fn read(head: &[u8]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(field(head, 0)),
            partition_leader_epoch: i32::from_be_bytes(field(head, 12)),
            attributes: i16::from_be_bytes(field(head, 21)),
            last_offset_delta: i32::from_be_bytes(field(head, 23)),
            base_timestamp: i64::from_be_bytes(field(head, 27)),
            max_timestamp: i64::from_be_bytes(field(head, 35)),
            producer_id: i64::from_be_bytes(field(head, 43)),
            producer_epoch: i16::from_be_bytes(field(head, 51)),
            base_sequence: i32::from_be_bytes(field(head, 53)),
            record_count: i32::from_be_bytes(field(head, 57)),
        }
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Whether the batch is part of a transaction (bit 4).
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether the batch is a marker (bit 5).
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Whether all records carry the append time (bit 3).
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    /// The codec; `None` for the numbers that Kafka does not use.
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_attributes(self.attributes)
    }

    /// Sequence number of the last record: counts to 2^31-1 and goes on at 0.
    pub fn last_sequence(&self) -> i32 {
        advance_sequence(self.base_sequence, self.last_offset_delta)
    }
}

fn field<const N: usize>(head: &[u8], at: usize) -> [u8; N] {
    let mut raw = [0; N];
    raw.copy_from_slice(&head[at..at + N]);
    raw
}

/// `sequence + by`, wrapping from 2^31-1 to 0 (`DefaultRecordBatch#incrementSequence`).
pub fn advance_sequence(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX)) as i32
}

/// The topic's settings that decide about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendRules {
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `segment.bytes`.
    pub segment_bytes: usize,
    /// Whether `cleanup.policy` names `compact`.
    pub compacted: bool,
    /// Whether `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub after_max_ms: i64,
    /// Brokers before 3.6 refuse a client's LogAppendTime bit on every topic.
    pub refuse_append_time_bit: bool,
    /// Whether compressed batches are opened and checked, as a broker does.
    pub open_compressed: bool,
}

/// Why a batch was refused: Kafka's error and what was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The error for the client.
    pub error: KafkaError,
    /// One line for its message.
    pub what: &'static str,
}

fn refuse<T>(error: KafkaError, what: &'static str) -> Result<T, Refusal> {
    Err(Refusal { error, what })
}

/// A batch that may be appended: trimmed to itself, timestamps settled.
#[derive(Debug, Clone)]
pub struct Accepted {
    batch: Bytes,
    /// The fields as they will be stored, but for the offset.
    pub fields: BatchFields,
    rewritten: bool,
}

impl Accepted {
    /// Fixes base offset and leader epoch: the batch as it is stored and served.
    pub fn store(self, base_offset: i64, leader_epoch: i32) -> StoredBatch {
        let mut stored = StoredBatch {
            head: Bytes::new(),
            tail: Bytes::new(),
            base_offset,
            last_offset: base_offset + i64::from(self.fields.last_offset_delta),
            max_timestamp: self.fields.max_timestamp,
        };
        let small = self.batch.len() <= WHOLE_COPY_MAX_BYTES;
        let head_bytes = if small { self.batch.len() } else { HEADER_BYTES };
        let mut head = BytesMut::from(&self.batch[..head_bytes]);
        stored.tail = self.batch.slice(head_bytes..);
        head[0..8].copy_from_slice(&base_offset.to_be_bytes());
        head[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
        if self.rewritten {
            head[21..23].copy_from_slice(&self.fields.attributes.to_be_bytes());
            head[35..43].copy_from_slice(&self.fields.max_timestamp.to_be_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&head[21..]), &stored.tail);
            head[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        stored.head = head.freeze();
        stored
    }
}

/// The one batch that a produce request may hold for a partition, trimmed of a cut-off tail.
///
/// # Errors
/// INVALID_RECORD for none, more than one or another format; CORRUPT_MESSAGE for an impossible length.
pub fn single_batch(records: &Bytes) -> Result<Bytes, Refusal> {
    let header = match BatchHeader::parse(records) {
        Ok(header) => header,
        Err(BatchError::Magic { .. }) => {
            return refuse(KafkaError::InvalidRecord, "produce requests need message format 2");
        }
        Err(BatchError::Length { length, .. })
            if records.len() >= HEADER_BYTES && length < (HEADER_BYTES - 12) as i64 =>
        {
            return refuse(KafkaError::CorruptMessage, "the batch is shorter than its header");
        }
        Err(_) => return refuse(KafkaError::InvalidRecord, "the request holds no whole batch"),
    };
    let total = header.total_bytes();
    let rest = records.slice(total..);
    if rest.len() >= 12 {
        let mut length = [0u8; 4];
        length.copy_from_slice(&rest[8..12]);
        if i64::from(i32::from_be_bytes(length)) + 12 <= rest.len() as i64 {
            return refuse(KafkaError::InvalidRecord, "one batch per partition and request");
        }
    }
    Ok(records.slice(..total))
}

/// Checks a batch against the topic's rules at `now_ms`, in the broker's order.
///
/// # Errors
/// The error that Kafka answers, see the module's rules.
pub fn validate(records: &Bytes, rules: &AppendRules, now_ms: i64) -> Result<Accepted, Refusal> {
    let batch = single_batch(records)?;
    let fields = BatchFields::read(&batch);
    if fields.base_offset != 0 {
        return refuse(KafkaError::InvalidRecord, "the base offset of a produced batch is 0");
    }
    if batch.len() > rules.max_message_bytes {
        return refuse(KafkaError::MessageTooLarge, "the batch is larger than max.message.bytes");
    }
    let mut stored = [0u8; 4];
    stored.copy_from_slice(&batch[17..21]);
    if crc32c::crc32c(&batch[21..]) != u32::from_be_bytes(stored) {
        return refuse(KafkaError::CorruptMessage, "the checksum does not match");
    }
    check_header(&fields)?;
    let (fields, rewritten) = settle_timestamps(&batch, fields, rules, now_ms)?;
    if batch.len() > rules.segment_bytes {
        return refuse(KafkaError::RecordListTooLarge, "the batch is larger than segment.bytes");
    }
    Ok(Accepted { batch, fields, rewritten })
}

/// Checks that need the header alone; enough for topics that discard what they get.
///
/// # Errors
/// INVALID_RECORD for holes, markers and missing sequences; UNKNOWN_SERVER_ERROR for an unknown codec.
pub fn check_header(fields: &BatchFields) -> Result<(), Refusal> {
    if fields.record_count <= 0
        || i64::from(fields.last_offset_delta) + 1 != i64::from(fields.record_count)
    {
        return refuse(KafkaError::InvalidRecord, "the record count does not match the offsets");
    }
    if fields.is_control() {
        return refuse(KafkaError::InvalidRecord, "clients may not write control batches");
    }
    if fields.producer_id >= 0 && fields.base_sequence < 0 {
        return refuse(KafkaError::InvalidRecord, "a producer id needs a sequence");
    }
    if fields.compression().is_none() {
        return refuse(KafkaError::UnknownServerError, "the codec is not known");
    }
    Ok(())
}

/// Walks the records and settles timestamp type and largest timestamp.
fn settle_timestamps(
    batch: &Bytes,
    mut fields: BatchFields,
    rules: &AppendRules,
    now_ms: i64,
) -> Result<(BatchFields, bool), Refusal> {
    let client_bit = fields.is_log_append_time();
    if client_bit && (rules.log_append_time || rules.refuse_append_time_bit) {
        return refuse(KafkaError::InvalidTimestamp, "clients may not set LogAppendTime");
    }
    let sealed = fields.compression() != Some(Compression::None);
    let walk = match sealed && !rules.open_compressed {
        true => None,
        false => Some(records::walk_all(&fields, &batch[HEADER_BYTES..])?),
    };
    if rules.compacted && walk.as_ref().is_some_and(|walk| walk.null_keys > 0) {
        return refuse(KafkaError::InvalidRecord, "compacted topics need a key in every record");
    }
    let before = (fields.attributes, fields.max_timestamp);
    if rules.log_append_time {
        fields.attributes |= LOG_APPEND_TIME_BIT;
        fields.max_timestamp = now_ms;
        return Ok((fields, (fields.attributes, fields.max_timestamp) != before));
    }
    if client_bit && fields.max_timestamp < 0 {
        return refuse(KafkaError::InvalidTimestamp, "LogAppendTime without a timestamp");
    }
    let (least, largest) = match &walk {
        Some(walk) if !client_bit => (walk.least_timestamp, walk.max_timestamp),
        _ => (fields.max_timestamp, fields.max_timestamp),
    };
    let too_old = least >= 0 && now_ms.saturating_sub(least) > rules.before_max_ms;
    let too_new = largest >= 0 && largest.saturating_sub(now_ms) > rules.after_max_ms;
    if too_old || too_new {
        return refuse(KafkaError::InvalidTimestamp, "a timestamp is outside the topic's bounds");
    }
    fields.attributes &= !LOG_APPEND_TIME_BIT;
    fields.max_timestamp = largest;
    Ok((fields, (fields.attributes, fields.max_timestamp) != before))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Batch, NOW, seal};
    use super::*;

    const RULES: AppendRules = AppendRules {
        max_message_bytes: 1000,
        segment_bytes: 1 << 30,
        compacted: false,
        log_append_time: false,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
        refuse_append_time_bit: false,
        open_compressed: true,
    };

    fn error(records: &Bytes, rules: &AppendRules) -> Option<KafkaError> {
        validate(records, rules, NOW).err().map(|refusal| refusal.error)
    }

    fn changed(at: usize, value: &[u8]) -> Bytes {
        let mut batch = BytesMut::from(&Batch::of(3).bytes()[..]);
        batch[at..at + value.len()].copy_from_slice(value);
        seal(batch)
    }

    #[test]
    fn a_batch_is_stored_byte_for_byte_but_for_offset_and_epoch() {
        let sent = Batch::of(3).bytes();
        let accepted = validate(&sent, &RULES, NOW).expect("accepted");
        let stored = accepted.store(42, 7).to_bytes();
        assert_eq!(stored[..8], 42i64.to_be_bytes());
        assert_eq!(stored[12..16], 7i32.to_be_bytes());
        assert_eq!(stored[16..], sent[16..]);
    }

    #[test]
    fn one_whole_batch_of_format_2_is_taken_and_a_cut_tail_trimmed() {
        let one = Batch::of(2).bytes();
        let two = Bytes::from([&one[..], &one[..]].concat());
        assert_eq!(error(&two, &RULES), Some(KafkaError::InvalidRecord));
        let cut = Bytes::from([&one[..], &one[..40]].concat());
        assert_eq!(single_batch(&cut), Ok(one.clone()));
        assert_eq!(error(&one.slice(..50), &RULES), Some(KafkaError::InvalidRecord));
        assert_eq!(error(&Bytes::new(), &RULES), Some(KafkaError::InvalidRecord));
        assert_eq!(error(&changed(16, &[1]), &RULES), Some(KafkaError::InvalidRecord));
    }

    #[test]
    fn what_the_header_must_say() {
        let invalid = Some(KafkaError::InvalidRecord);
        assert_eq!(error(&changed(0, &1i64.to_be_bytes()), &RULES), invalid);
        assert_eq!(error(&changed(23, &5i32.to_be_bytes()), &RULES), invalid);
        assert_eq!(error(&changed(57, &0i32.to_be_bytes()), &RULES), invalid);
        assert_eq!(error(&changed(21, &0x20i16.to_be_bytes()), &RULES), invalid);
        assert_eq!(error(&changed(43, &9i64.to_be_bytes()), &RULES), invalid);
        let codec = error(&changed(21, &5i16.to_be_bytes()), &RULES);
        assert_eq!(codec, Some(KafkaError::UnknownServerError));
    }

    #[test]
    fn a_wrong_checksum_and_a_large_batch_are_refused() {
        let mut bytes = BytesMut::from(&Batch::of(3).bytes()[..]);
        bytes[70] ^= 1;
        assert_eq!(error(&bytes.freeze(), &RULES), Some(KafkaError::CorruptMessage));
        let large = Batch::of(200).bytes();
        assert_eq!(error(&large, &RULES), Some(KafkaError::MessageTooLarge));
        let roomy = AppendRules { max_message_bytes: 1 << 20, segment_bytes: 500, ..RULES };
        assert_eq!(error(&large, &roomy), Some(KafkaError::RecordListTooLarge));
    }

    #[test]
    fn the_payload_holds_as_many_records_as_promised() {
        let three = Batch::of(3).bytes();
        let mut two = BytesMut::from(&three[..]);
        two[57..61].copy_from_slice(&2i32.to_be_bytes());
        two[23..27].copy_from_slice(&1i32.to_be_bytes());
        assert_eq!(error(&seal(two), &RULES), Some(KafkaError::InvalidRecord));
    }

    #[test]
    fn compressed_offsets_have_no_holes_but_uncompressed_ones_may() {
        use protocol_client::batch::codec;
        let plain = Batch::of(3).bytes();
        let mut holes = BytesMut::from(&plain[..]);
        let third = plain.len() - 10 - 5;
        let at = plain[third..].windows(2).position(|pair| pair == [4, 4]).expect("deltas") + third;
        holes[at + 1] = 10;
        let stored = validate(&seal(holes.clone()), &RULES, NOW);
        assert!(stored.is_ok(), "stored as it is: the trap that real brokers have");
        let mut sealed = Vec::new();
        codec::compress(Compression::Gzip, &holes[61..], &mut sealed).expect("compresses");
        let mut batch = BytesMut::from(&holes[..61]);
        batch.put_slice(&sealed);
        let length = (batch.len() - 12) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[22] = 1;
        let batch = seal(batch);
        assert_eq!(error(&batch, &RULES), Some(KafkaError::UnknownServerError));
        let closed = AppendRules { open_compressed: false, ..RULES };
        assert_eq!(error(&batch, &closed), None);
    }

    #[test]
    fn timestamps_have_bounds() {
        let old = Batch { base_timestamp: NOW - 10_000, ..Batch::of(1) }.bytes();
        let rules = AppendRules { before_max_ms: 9_999, ..RULES };
        assert_eq!(error(&old, &rules), Some(KafkaError::InvalidTimestamp));
        assert_eq!(error(&old, &RULES), None);
        let new = Batch { base_timestamp: NOW + 3_600_001, ..Batch::of(1) }.bytes();
        assert_eq!(error(&new, &RULES), Some(KafkaError::InvalidTimestamp));
        let none = Batch { base_timestamp: -1, ..Batch::of(1) }.bytes();
        assert_eq!(error(&none, &rules), None);
    }

    #[test]
    fn a_compacted_topic_wants_keys() {
        let compacted = AppendRules { compacted: true, ..RULES };
        let keyless = Batch { records: vec![(None, b"v".to_vec())], ..Batch::of(0) }.bytes();
        assert_eq!(error(&keyless, &compacted), Some(KafkaError::InvalidRecord));
        assert_eq!(error(&keyless, &RULES), None);
    }

    #[test]
    fn log_append_time_is_the_brokers() {
        let stamped = AppendRules { log_append_time: true, ..RULES };
        let sent = Batch::of(2).bytes();
        let stored = validate(&sent, &stamped, NOW + 5).expect("accepted").store(0, 0);
        assert!(stored.fields().is_log_append_time());
        assert_eq!(stored.max_timestamp(), NOW + 5);
        let whole = stored.to_bytes();
        assert_eq!(crc32c::crc32c(&whole[21..]).to_be_bytes(), whole[17..21]);
        let client = changed(21, &8i16.to_be_bytes());
        assert_eq!(error(&client, &stamped), Some(KafkaError::InvalidTimestamp));
        let cleared = validate(&client, &RULES, NOW).expect("accepted since 3.6").store(0, 0);
        assert!(!cleared.fields().is_log_append_time());
        let strict = AppendRules { refuse_append_time_bit: true, ..RULES };
        assert_eq!(error(&client, &strict), Some(KafkaError::InvalidTimestamp));
    }

    #[test]
    fn a_wrong_largest_timestamp_is_corrected() {
        let wrong = changed(35, &(NOW + 1_000).to_be_bytes());
        let stored = validate(&wrong, &RULES, NOW).expect("accepted").store(0, 0);
        assert_eq!(stored.max_timestamp(), NOW + 2);
        let whole = stored.to_bytes();
        assert_eq!(crc32c::crc32c(&whole[21..]).to_be_bytes(), whole[17..21]);
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance_sequence(i32::MAX, 1), 0);
        assert_eq!(advance_sequence(i32::MAX - 1, 3), 1);
        assert_eq!(advance_sequence(5, 2), 7);
    }
}
