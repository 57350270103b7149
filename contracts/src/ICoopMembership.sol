// SPDX-License-Identifier: AGPL-3.0-or-later
pragma solidity 0.8.37;

import {IERC6372} from "@openzeppelin/contracts/interfaces/IERC6372.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";

/// @title Minimal soulbound token (ERC-5192)
/// @dev Its ERC-165 identifier is 0xb45a3c0e.
interface IERC5192 {
    /// @notice The token can no longer be transferred.
    event Locked(uint256 tokenId);

    /// @notice The token can be transferred again.
    event Unlocked(uint256 tokenId);

    /// @notice Whether the token is bound to its owner.
    /// @dev Reverts when the token does not exist.
    function locked(uint256 tokenId) external view returns (bool);
}

/// @title The co-op's register of members: one member, one token, one vote
/// @notice The members of the co-op, each by an address used for nothing else. A member's vote counts from the second
/// of admission to the second of removal, and what it was at any past second can be read for ever.
///
/// @dev What holds at the end of every transaction:
///  - an address owns one token or none, and whoever owns one is its own delegate;
///  - `totalSupply()` = the number of members = the sum of `getVotes` over the members;
///  - for every past second t, `getPastTotalSupply(t)` = the sum of `getPastVotes(member, t)` over those who were
///    members at the end of t. No later transaction changes either.
///
/// What is assumed:
///  - the registrar admits each person at most once. The contract sees addresses, not people; one member, one vote is
///    worth no more than the registrar's diligence;
///  - the registrar's key is kept safe. It is fixed at construction: a lost or stolen key means a new contract, which
///    the members must then agree to follow;
///  - members can sign with the admitted address. It is not called at admission, so a contract may be a member.
///
/// What the inherited functions do differently here:
///  - `transferFrom` and both `safeTransferFrom` always revert: with {Soulbound} for an existing token, whoever calls;
///  - `approve` and `setApprovalForAll` always revert with {Soulbound};
///  - `delegate` and `delegateBySig` revert with {DelegationDisabled} unless the delegate is the one who delegates,
///    which changes no vote. `delegateBySig` first checks the signature's expiry and nonce.
///
/// What never exists here: a transfer, an approval, a proxy, an initialiser, an owner, a payable function, a call to
/// another contract, personal data.
///
/// The clock is the block timestamp in seconds (ERC-6372, "mode=timestamp"). `getPastVotes` and `getPastTotalSupply`
/// (ERC-5805) refuse a timepoint that is not before the clock of the block they are read at: read a snapshot at a later
/// block than the one it is taken from.
interface ICoopMembership is IERC721, IERC5192, IERC6372, IVotes {
    /// @notice In which role a person is a member. Every class has one vote.
    /// @dev `None` is the class of a token that was never issued and cannot be given to anybody.
    enum Class {
        None,
        Listener,
        Artist,
        Worker
    }

    /// @notice `member` was given the token `tokenId` and, with it, one vote.
    event MemberAdmitted(address indexed member, uint256 indexed tokenId, Class class);

    /// @notice `member` gave up the token `tokenId` or lost it, and the vote with it.
    event MemberRemoved(address indexed member, uint256 indexed tokenId);

    /// @notice The registrar given at construction is the zero address.
    error RegistrarMissing();

    /// @notice Only the registrar may do this.
    error NotRegistrar(address caller);

    /// @notice The address holds a token already.
    error AlreadyMember(address member);

    /// @notice The address holds no token.
    error NotMember(address member);

    /// @notice A member is admitted as a listener, an artist or a worker.
    error ClassMissing();

    /// @notice The token is bound to its member: it is neither transferred nor approved for transfer.
    error Soulbound();

    /// @notice A member votes for themselves only: `account` may not make `delegatee` its delegate.
    error DelegationDisabled(address account, address delegatee);

    /// @notice Admits `member`: issues a token of `class`, with one vote delegated to the member.
    /// @dev Registrar only. Emits {MemberAdmitted}, {Locked} and the events of ERC-721 and ERC-5805.
    /// Reverts with {NotRegistrar}, {ClassMissing}, {AlreadyMember}, or ERC721InvalidReceiver for the zero address.
    /// Somebody who left and comes back is given a new token.
    /// @return tokenId From 1 upwards in the order of admission; never issued twice.
    function admit(address member, Class class) external returns (uint256 tokenId);

    /// @notice Removes `member`: destroys the token and, from this second on, its vote. Past votes stay as they were.
    /// @dev Registrar only. Emits {MemberRemoved} and the events of ERC-721 and ERC-5805.
    /// Reverts with {NotRegistrar} or {NotMember}.
    function remove(address member) external;

    /// @notice The only address that admits and removes members. Fixed at construction.
    function registrar() external view returns (address);

    /// @notice The number of members.
    function totalSupply() external view returns (uint256);

    /// @notice Whether `member` holds a token now. False for the zero address.
    function isMember(address member) external view returns (bool);

    /// @notice The token `member` holds now, or 0.
    function tokenOf(address member) external view returns (uint256 tokenId);

    /// @notice The class `tokenId` was issued with, kept after removal. `None` if it was never issued.
    function classOf(uint256 tokenId) external view returns (Class);
}
