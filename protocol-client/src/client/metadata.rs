//! Keeping the view of the cluster fresh.
//!
//! One refresh runs at a time and serves everybody who waits for one. Looking never creates
//! topics.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::Client;
use crate::cluster::ClusterView;
use crate::cluster::metadata::{Freshness, Topics};
use crate::error::ClientError;
use crate::wire::api::Api;
use crate::wire::error_code::ErrorCode;

/// Topics asked for in one request; more go into further ones.
const TOPICS_PER_REQUEST: usize = 1000;

impl Client {
    /// What is known now, without asking anybody.
    pub fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.0.view.borrow())
    }

    /// The view, with all topics as fresh as `metadata_max_age` demands.
    pub async fn all_topics(&self) -> Result<Arc<ClusterView>, ClientError> {
        let freshness = Freshness::WithinAge(self.0.options.metadata_max_age);
        self.refreshed(Topics::All, freshness).await
    }

    /// Like [`all_topics`](Self::all_topics), tried once: for callers that try again by themselves and want to hear of
    /// every failure at once.
    pub async fn try_all_topics(&self) -> Result<Arc<ClusterView>, ClientError> {
        let freshness = Freshness::WithinAge(self.0.options.metadata_max_age);
        self.refresh_once(&Topics::All, freshness).await
    }

    /// The view, with these topics as fresh as `metadata_max_age` demands. A topic that does not
    /// exist is in the view with an error.
    pub async fn topics(&self, names: &[Arc<str>]) -> Result<Arc<ClusterView>, ClientError> {
        let freshness = Freshness::WithinAge(self.0.options.metadata_max_age);
        self.refreshed(Topics::Named(names.iter().cloned().collect()), freshness).await
    }

    /// Asks again unless somebody else's refresh, begun after this call, already has covered
    /// `topics` in a generation behind `generation`; tries until it works or time is up.
    pub async fn refresh(
        &self,
        topics: Topics,
        generation: u64,
    ) -> Result<Arc<ClusterView>, ClientError> {
        self.refreshed(topics, Freshness::NewerThan(generation)).await
    }

    async fn refreshed(
        &self,
        topics: Topics,
        freshness: Freshness,
    ) -> Result<Arc<ClusterView>, ClientError> {
        let mut attempts = self.attempts(vec![()]);
        while attempts.next().await.is_some() {
            attempts.settle_one(self.refresh_once(&topics, freshness).await);
        }
        attempts.finish_one()
    }

    /// Asks for the brokers alone.
    pub(super) async fn refresh_nodes(&self) -> Result<Arc<ClusterView>, ClientError> {
        let freshness = Freshness::NewerThan(self.view().generation);
        self.refresh_once(&Topics::Named(BTreeSet::new()), freshness).await
    }

    /// Like [`refresh`](Self::refresh), tried once.
    pub(super) async fn refresh_once(
        &self,
        topics: &Topics,
        freshness: Freshness,
    ) -> Result<Arc<ClusterView>, ClientError> {
        let covered =
            |view: &ClusterView| view.covers(topics, freshness, Instant::now().into_std());
        let view = self.view();
        if covered(&view) {
            return Ok(view);
        }
        self.want(topics);
        let _one_at_a_time = self.0.refreshing.lock().await;
        let view = self.view();
        if covered(&view) {
            return Ok(view);
        }
        let wanted = self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
        let wanted = wanted.map_or_else(|| topics.clone(), |others| others.union(topics));
        let answers = self.ask(&wanted).await?;
        let next = Arc::new(view.merged(&wanted, &answers, Instant::now().into_std()));
        self.0.view.send_replace(Arc::clone(&next));
        Ok(next)
    }

    fn want(&self, topics: &Topics) {
        let mut wanted = self.0.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        *wanted = Some(match wanted.take() {
            Some(others) => others.union(topics),
            None => topics.clone(),
        });
    }

    async fn ask(&self, topics: &Topics) -> Result<Vec<MetadataResponse>, ClientError> {
        let connection = self.any().await?;
        let request = |topics| {
            MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false)
        };
        let requests = match topics {
            Topics::All => vec![request(None)],
            Topics::Named(names) if names.is_empty() => vec![request(Some(Vec::new()))],
            Topics::Named(names) => {
                let names: Vec<MetadataRequestTopic> = names.iter().map(named).collect();
                let chunks = names.chunks(TOPICS_PER_REQUEST);
                chunks.map(|chunk| request(Some(chunk.to_vec()))).collect()
            }
        };
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            let answer = connection.call(request).await?;
            let refused = ErrorCode(answer.error_code).ok();
            refused.map_err(|code| {
                let error = ClientError::refused(code, None).at(connection.broker());
                error.during(MetadataRequest::ID.name)
            })?;
            answers.push(answer);
        }
        Ok(answers)
    }
}

fn named(name: &Arc<str>) -> MetadataRequestTopic {
    let name = StrBytes::from_string(name.to_string());
    MetadataRequestTopic::default().with_name(Some(TopicName(name)))
}
