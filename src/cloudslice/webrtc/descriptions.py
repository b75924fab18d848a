"""Offers and answers of one connection, both ways, and what they have come to."""

import secrets
from collections.abc import Sequence

from cloudslice.webrtc.accepting import ReceivePolicy, accept_offer
from cloudslice.webrtc.candidates import Candidate, IceCredentials
from cloudslice.webrtc.local_description import (
    LocalParameters,
    OfferedSection,
    write_answer,
    write_offer,
)
from cloudslice.webrtc.negotiation import Negotiation
from cloudslice.webrtc.offering import accept_answer
from cloudslice.webrtc.remote_description import RemoteDescription
from cloudslice.webrtc.transport_parameters import Fingerprint


class Descriptions:
    """See the module.

    Args:
        policy: what is received, and whether we are ICE-lite.
        fingerprint: of our certificate.

    Attributes:
        agreed: what is agreed on; None before the first offer and answer.
    """

    def __init__(self, policy: ReceivePolicy, fingerprint: Fingerprint) -> None:
        self.agreed: Negotiation | None = None
        self._policy = policy
        self._fingerprint = fingerprint
        self._session_id = str(secrets.randbits(62))
        self._version = 0
        self._offered: Sequence[OfferedSection] = ()

    def take_offer(self, offer: RemoteDescription) -> Negotiation:
        """Agree to an offer, the first or a later one.

        Raises:
            SdpError: we cannot agree to it; nothing has changed then.
        """
        self.agreed = accept_offer(offer, self._policy, self.agreed)
        return self.agreed

    def write_answer(self, ice: IceCredentials, candidates: tuple[Candidate, ...]) -> str:
        """The answer to the offer that was taken last.

        Args:
            ice: our credentials.
            candidates: where we may be reached.
        """
        assert self.agreed is not None  # noqa: S101 - an offer was taken
        self._version += 1
        return write_answer(self.agreed, self._local(ice, candidates), self._version)

    def write_offer(
        self,
        sections: Sequence[OfferedSection],
        ice: IceCredentials,
        candidates: tuple[Candidate, ...],
    ) -> str:
        """An offer of ours; see `local_description.write_offer`, and `write_answer`."""
        self._offered = tuple(sections)
        self._version += 1
        return write_offer(self._offered, self._local(ice, candidates), self._version)

    def take_answer(self, answer: RemoteDescription) -> Negotiation:
        """Agree to the answer to our last offer.

        Raises:
            SdpError: it is none to our offer; nothing has changed then.
        """
        self.agreed = accept_answer(
            self._offered,
            answer,
            self.agreed,
            we_are_ice_lite=self._policy.we_are_ice_lite,
            needs_media=self._policy.needs_media,
            catalog=self._policy.catalog,
        )
        return self.agreed

    def _local(self, ice: IceCredentials, candidates: tuple[Candidate, ...]) -> LocalParameters:
        return LocalParameters(
            session_id=self._session_id,
            ice=ice,
            fingerprint=self._fingerprint,
            candidates=candidates,
            is_ice_lite=self._policy.we_are_ice_lite,
        )
