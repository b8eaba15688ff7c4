//! Alarms, and what they forbid.

use kvorum_proto::etcdserverpb::alarm_request::AlarmAction;
use kvorum_proto::etcdserverpb::{AlarmMember, AlarmRequest, AlarmResponse, AlarmType};

use super::{Model, ModelError, Outcome, header};

/// A raised alarm: its type, then the member that raised it.
pub type Alarm = (i32, u64);

impl Model {
    /// Answers an alarm request of any action; the list comes by type, then member.
    pub fn alarm(&mut self, request: &AlarmRequest) -> AlarmResponse {
        let asked = (request.alarm, request.member_id);
        let none = AlarmType::None as i32;
        let alarms = match request.action() {
            AlarmAction::Get => {
                let wanted = |alarm: &&Alarm| request.alarm == none || alarm.0 == request.alarm;
                self.alarms.iter().filter(wanted).copied().collect()
            }
            AlarmAction::Activate if request.alarm == none => Vec::new(),
            AlarmAction::Activate => {
                self.alarms.insert(asked);
                vec![asked]
            }
            AlarmAction::Deactivate => self.alarms.take(&asked).into_iter().collect(),
        };
        let member = |(alarm, member_id)| AlarmMember { member_id, alarm };
        AlarmResponse {
            header: header(self.revision),
            alarms: alarms.into_iter().map(member).collect(),
        }
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> + '_ {
        self.alarms.iter().copied()
    }

    fn raised(&self, alarm: AlarmType) -> bool {
        self.alarms
            .iter()
            .any(|(raised, _)| *raised == alarm as i32)
    }

    pub(super) fn refuse_if_corrupt(&self) -> Outcome<()> {
        if self.raised(AlarmType::Corrupt) {
            Err(ModelError::Corrupt)
        } else {
            Ok(())
        }
    }

    pub(super) fn refuse_if_no_space(&self) -> Outcome<()> {
        if self.raised(AlarmType::Nospace) {
            Err(ModelError::NoSpace)
        } else {
            Ok(())
        }
    }
}
