"""RTP sessions over WebRTC: STUN, DTLS, SRTP, RTCP, reordering and depacketising."""
