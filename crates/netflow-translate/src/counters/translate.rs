//! What stage 2 counts. Each worker has its own; only its thread writes, anyone reads.

use crate::counters::Counter;
use crate::counters::traffic::Traffic;

macro_rules! counters {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub struct $name {
            /// What comes in, by protocol.
            pub traffic: Traffic,
            $($(#[$doc])* pub $field: Counter,)*
        }

        impl $name {
            /// Every counter by its name, without those of [`Traffic`].
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field.value()),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Counters of one worker's translation.
    TranslateCounters {
        /// Datagrams whose header was understood.
        datagrams_decoded,
        /// Of these, those of sFlow.
        datagrams_sflow,
        /// Datagrams of sources that `NETFLOW_ALLOWED_EXPORTERS` doesn't name; nothing else is known of them.
        datagrams_not_allowed,
        /// Datagrams over `NETFLOW_MAX_RATE_PER_EXPORTER`; of these only the header was read.
        datagrams_rate_limited,
        /// Datagrams shorter than their header.
        datagrams_truncated,
        /// Datagrams of an unknown version.
        datagrams_unknown_version,
        /// IPFIX messages whose length is less than their header's.
        datagrams_bad_length,
        /// sFlow datagrams whose agent has an address of an unknown type.
        datagrams_bad_agent,
        /// Flow spans written.
        flow_spans,
        /// Work spans written: `netflow.export`, `netflow.parse_packet`, `netflow.process_flows`.
        work_spans,
        /// Flow records that `NETFLOW_FILTER` excludes.
        records_filtered,
        /// Flow records of traces that the sampler left out.
        records_sampled_out,
        /// Flow records that `NETFLOW_SAMPLE_BYTES` left out.
        records_sampled_by_size,
        /// Flow records whose span is larger than a request may be.
        records_too_large,
        /// Flow records without a span: their datagram had caused as many octets as it may.
        records_cut,
        /// Attributes whose lists lack elements, for the same reason or because they were too long.
        lists_cut,
        /// Flow records over `NETFLOW_MAX_RECORD_RATE_PER_EXPORTER`, without a span.
        records_rate_limited,
        /// Options records.
        options_records,
        /// Flow spans whose time was implausible or couldn't be derived.
        times_suspect,
        /// Sets that had to wait for their template.
        sets_waited,
        /// Of these, decoded when it came.
        sets_decoded_late,
        /// Of these, dropped for their age or to make room.
        sets_expired,
        /// Of these, still waiting, a gauge.
        sets_waiting,
        /// Sets, or rests of Sets, that could not be used; the reasons follow.
        sets_bad,
        /// A length below 4.
        sets_bad_length,
        /// A length past the datagram's end.
        sets_truncated,
        /// A reserved Set ID.
        sets_reserved_id,
        /// A template that goes past its Set.
        sets_malformed_template,
        /// A template of more fields than the limit.
        sets_too_many_fields,
        /// Records of zero octets.
        sets_empty_record,
        /// A record that goes past its Set.
        sets_truncated_record,
        /// Flow samples of sFlow, each a flow record; expanded ones and discarded packets are among them.
        flow_samples,
        /// Counter samples of sFlow.
        counter_samples,
        /// Samples of sFlow of an unknown or a vendor's format.
        samples_unknown,
        /// Samples of sFlow that go past their datagram; none can follow.
        samples_truncated,
        /// Samples of sFlow whose fields go past their own length.
        samples_malformed,
        /// Records of flow samples that go past their sample; none can follow. What was read before is shown.
        sample_records_truncated,
        /// Records of flow samples whose fields go past their own length; the others are shown.
        sample_records_malformed,
        /// Templates not known before.
        templates_learnt,
        /// Templates that were re-sent.
        templates_refreshed,
        /// Templates that changed.
        templates_replaced,
        /// Templates forgotten for their age.
        templates_expired,
        /// Templates that made room for others of their exporter.
        templates_evicted,
        /// Names, samplers and domains of options data that were not taken in because there is no room.
        options_refused,
        /// Withdrawals, which are ignored over UDP.
        withdrawals_ignored,
        /// Templates withdrawn by exporters over a connection.
        templates_withdrawn,
        /// Templates that were forgotten because their connection ended.
        templates_ended,
        /// Flows missing by the sequence numbers of v5 and v7.
        lost_flows,
        /// Messages missing by the sequence numbers of v9.
        lost_messages,
        /// Data Records missing by the sequence numbers of IPFIX.
        lost_records,
        /// Datagrams missing by the sequence numbers of sFlow.
        lost_datagrams,
        /// Flows of overtaken v5 and v7 datagrams: counted as lost before they came.
        late_flows,
        /// Overtaken v9 messages.
        late_messages,
        /// Data Records of overtaken IPFIX messages.
        late_records,
        /// Overtaken sFlow datagrams.
        late_datagrams,
        /// Exporters that began their sequence anew.
        exporter_restarts,
        /// Exporters known, a gauge.
        exporters,
        /// Exporters forgotten to make room for others.
        exporters_evicted,
        /// Of these, and of agents of sFlow, those that went because all together took too much memory.
        evicted_for_memory,
        /// Exporters whose templates or options data were to be stored.
        state_changes,
        /// Flow spans in the batch that is being filled, a gauge.
        open_flow_spans,
        /// Work spans in it, a gauge.
        open_work_spans,
        /// Batches finished.
        batches,
        /// Their octets.
        batch_octets,
    }
}

impl TranslateCounters {
    /// Datagrams that could not be used, by any reason.
    #[must_use]
    pub fn datagrams_rejected(&self) -> u64 {
        self.datagrams_truncated.value()
            + self.datagrams_unknown_version.value()
            + self.datagrams_bad_length.value()
            + self.datagrams_bad_agent.value()
    }
}
