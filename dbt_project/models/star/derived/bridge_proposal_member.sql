-- One row per alert and live episode: the proposal it belongs to, or why it belongs to none.
select
    member_kind,
    member_id,
    proposal_id,
    role,
    reason,
    model_version
from {{ source('derived', 'proposal_members') }}
