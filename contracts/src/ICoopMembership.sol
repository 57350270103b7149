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
/// of admission to the second of removal, and who had it at any past second can be read for ever, from the contract
/// alone. Two officers approve each admission; the registrar carries it out. A member may have another member vote.
///
/// @dev What holds at the end of every transaction:
///  - an address owns one token or none; a token that was destroyed is never issued again;
///  - `totalSupply()` = the number of members = the sum of `census` over the classes = the sum of `getVotes` over all
///    addresses. `getVotes(a)` = the number of members whose delegate is `a`;
///  - no member has more than `delegationCap` votes, its own counted as if it had it;
///  - who is no member has delegated to nobody;
///  - for every past second t, what `roll`, `classAt`, `census`, `getPastDelegate`, `getPastVotes`, `standings` and
///    `getPastTotalSupply` tell of t adds up in the same way, and no later transaction changes it;
///  - there is one registrar, and there are at least two officers.
///
/// What is assumed:
///  - of any two officers at least one is honest: together they can admit whom they please and, `officeDelay` after
///    saying so in public, give every office to themselves;
///  - the officers admit each person at most once, and the registrar has a seat moved to another address (`rekey`) only
///    for the same person. The contract sees addresses, not people; one member, one vote is worth no more than that;
///  - the registrar alone can remove members and change their classes. What it does wrongly, ballots under way do not
///    feel, and everybody sees;
///  - members can sign with the admitted address. It is not called at admission, so a contract may be a member.
///
/// Approvals are EIP-712 signatures in the domain "StreamCoop Membership", "1", this chain and this contract, of
///  - `Admission(address member,uint8 class,uint256 nonce,uint256 deadline)`, nonce = `admissionsOf(member)`;
///  - `Rekey(address from,address to,uint256 nonce,uint256 deadline)`, nonce = `admissionsOf(from)`;
///  - `OfficeChange(uint8 office,address account,bool holds,uint256 nonce,uint256 deadline)`, nonce = `lastChange()`;
///  - `OfficeWithdrawal(uint256 change,uint256 deadline)`.
/// So each counts at most once, and no more once something else has been done of the same kind. They count by who is an
/// officer when they are used, not when they were given. A signer that has code is asked (ERC-1271), by a call that can
/// change nothing; of any other the signature is 65 bytes with s in the lower half of the order.
///
/// What the inherited functions do differently here:
///  - `transferFrom`, both `safeTransferFrom`, `approve` and `setApprovalForAll` always revert with {Soulbound};
///  - `delegate` and `delegateBySig` revert with {NotMember} unless both are members, and with {DelegationCapReached}
///    where the delegate would come to have too many votes. To delegate to oneself is always possible. One hop: who
///    delegates still casts what others delegated to them. A delegate need not consent, and whoever is removed keeps
///    the votes of those who had delegated to it until they delegate anew; nobody can cast these, until the same address
///    is admitted again. At admission every member is its own delegate, whatever was before.
///
/// What never exists here: a transfer, an approval of transfers, a proxy, an initialiser, an owner, a payable function,
/// a call to another contract but ERC-1271's, personal data.
///
/// The clock is the block timestamp in seconds (ERC-6372, "mode=timestamp"). Whatever tells of a past second refuses one
/// that is not before the clock of the block it is read at, with ERC5805FutureLookup: read a snapshot at a later block
/// than the one it is taken from.
interface ICoopMembership is IERC721, IERC5192, IERC6372, IVotes {
    /// @notice In which role a person is a member. Every class has one vote.
    /// @dev `None` is the class of who is no member and cannot be given to anybody.
    enum Class {
        None,
        Listener,
        Artist,
        Worker
    }

    /// @notice Who acts for the co-op here. `Registrar` carries out what `Officer`s approve.
    enum Office {
        Registrar,
        Officer
    }

    /// @notice What an officer approves, signed.
    struct OfficerApproval {
        address officer;
        bytes signature;
    }

    /// @notice One member's place in the register. `since` is the second of admission, which a new address keeps.
    struct Seat {
        address member;
        Class class;
        address delegate;
        uint48 since;
    }

    /// @notice What an address was at one second: how many votes it had, and, of a member, the class and since when.
    struct Standing {
        uint208 votes;
        Class class;
        uint48 since;
    }

    /// @notice `account` is to hold `office`, or, of an officer, not to. It can be carried out from the second `readyAt` to
    /// the second `lapsesAt`.
    struct Change {
        Office office;
        address account;
        bool holds;
        uint48 readyAt;
        uint48 lapsesAt;
    }

    /// @notice `member` was given the token `tokenId` and, with it, one vote.
    event MemberAdmitted(address indexed member, uint256 indexed tokenId, Class class);

    /// @notice `member` gave up the token `tokenId` or lost it, and the vote with it.
    event MemberRemoved(address indexed member, uint256 indexed tokenId);

    /// @notice `member` is of `class` from now on.
    event ClassChanged(address indexed member, uint256 indexed tokenId, Class class);

    /// @notice The member who had the address `from` and token `oldTokenId` has `to` and `newTokenId` from now on.
    event MemberRekeyed(address indexed from, address indexed to, uint256 oldTokenId, uint256 newTokenId);

    /// @notice Two officers announced the change number `change`.
    event ChangeAnnounced(
        uint256 indexed change,
        Office office,
        address indexed account,
        bool holds,
        uint48 readyAt,
        uint48 lapsesAt
    );

    /// @notice The change number `change` was withdrawn by two officers.
    event ChangeWithdrawn(uint256 indexed change);

    /// @notice `account` holds `office` from now on, or no more. A registrar who is replaced is not told of by itself.
    event OfficeChanged(Office office, address indexed account, bool holds);

    /// @notice The registrar given is the zero address.
    error RegistrarMissing();

    /// @notice There are at least two officers, each with an address.
    error OfficersMissing();

    /// @notice A delegate has at least its own vote.
    error DelegationCapMissing();

    /// @notice Only the registrar may do this.
    error NotRegistrar(address caller);

    /// @notice The address holds no such office.
    error NotOfficer(address account);

    /// @notice The address is an officer already.
    error AlreadyOfficer(address account);

    /// @notice Two different officers must approve.
    error SameOfficer(address officer);

    /// @notice What was signed could be used until `deadline`.
    error SignatureExpired(uint256 deadline);

    /// @notice `signer` did not sign exactly this, for this contract on this chain, at this stage.
    error InvalidSignature(address signer);

    /// @notice The address holds a token already.
    error AlreadyMember(address member);

    /// @notice The address holds no token.
    error NotMember(address member);

    /// @notice A member is a listener, an artist or a worker.
    error ClassMissing();

    /// @notice The member is of this class already.
    error ClassUnchanged(address member, Class class);

    /// @notice The token is bound to its member: it is neither transferred nor approved for transfer.
    error Soulbound();

    /// @notice `delegate` would come to have more than `cap` votes.
    error DelegationCapReached(address delegate, uint256 cap);

    /// @notice There is always a registrar: it is replaced, never taken away.
    error RegistrarRequired();

    /// @notice No change of this number is announced: it never was, or is carried out or withdrawn.
    error ChangeUnknown(uint256 change);

    /// @notice The change can be carried out from `readyAt` on.
    error ChangeNotReady(uint256 change, uint48 readyAt);

    /// @notice The change could be carried out until `lapsesAt`.
    error ChangeLapsed(uint256 change, uint48 lapsesAt);

    /// @notice Admits `member`: issues a token of `class`, with one vote delegated to the member.
    /// @dev Registrar only, with two officers' approvals that can be used until `deadline`.
    /// Emits {MemberAdmitted}, {Locked} and the events of ERC-721 and ERC-5805.
    /// Reverts with {NotRegistrar}, {SignatureExpired}, {SameOfficer}, {NotOfficer}, {InvalidSignature}, {ClassMissing},
    /// {AlreadyMember}, or ERC721InvalidReceiver for the zero address.
    /// Somebody who left and comes back is given a new token, and waits again.
    /// @return tokenId From 1 upwards in the order of issue; never issued twice.
    function admit(address member, Class class, uint256 deadline, OfficerApproval calldata first, OfficerApproval calldata second)
        external
        returns (uint256 tokenId);

    /// @notice Removes `member`: destroys the token and, from this second on, its vote. Past votes stay as they were.
    /// @dev Registrar only. Emits {MemberRemoved} and the events of ERC-721 and ERC-5805.
    /// Reverts with {NotRegistrar} or {NotMember}.
    function remove(address member) external;

    /// @notice Puts `member` in another class, from this second on.
    /// @dev Registrar only. Emits {ClassChanged}.
    /// Reverts with {NotRegistrar}, {NotMember}, {ClassMissing} or {ClassUnchanged}.
    function changeClass(address member, Class class) external;

    /// @notice Moves the seat of `from` to `to`, as both signed: destroys the token and issues a new one of the same class
    /// and `since`. The member is their own delegate then; who had delegated to `from` must delegate anew.
    /// @dev Registrar only. Emits {MemberRekeyed}, {Locked} and the events of ERC-721 and ERC-5805.
    /// Reverts with {NotRegistrar}, {NotMember}, {AlreadyMember}, {SignatureExpired} or {InvalidSignature}.
    /// @return tokenId Of the new token.
    function rekey(
        address from,
        address to,
        uint256 deadline,
        bytes calldata fromSignature,
        bytes calldata toSignature
    ) external returns (uint256 tokenId);

    /// @notice Announces that `account` is to hold `office`, or, as an officer, not to. A new registrar replaces the one
    /// there is. Whether it can be done is seen when it is carried out.
    /// @dev Anyone, with two officers' approvals that can be used until `deadline`. Emits {ChangeAnnounced}.
    /// Reverts with {RegistrarRequired}, {SignatureExpired}, {SameOfficer}, {NotOfficer} or {InvalidSignature}.
    /// @return change Its number, from 1 upwards.
    function announceChange(
        Office office,
        address account,
        bool holds,
        uint256 deadline,
        OfficerApproval calldata first,
        OfficerApproval calldata second
    ) external returns (uint256 change);

    /// @notice Carries out an announced change whose time has come. Whoever lost an office has no power from then on.
    /// @dev Anyone. Emits {OfficeChanged}.
    /// Reverts with {ChangeUnknown}, {ChangeNotReady}, {ChangeLapsed}, {RegistrarMissing},
    /// {AlreadyOfficer}, {NotOfficer} or {OfficersMissing}.
    function carryOutChange(uint256 change) external;

    /// @notice Withdraws an announced change, ready or not.
    /// @dev Anyone, with two officers' approvals that can be used until `deadline`. Emits {ChangeWithdrawn}.
    /// Reverts with {ChangeUnknown}, {SignatureExpired}, {SameOfficer}, {NotOfficer} or {InvalidSignature}.
    function withdrawChange(uint256 change, uint256 deadline, OfficerApproval calldata first, OfficerApproval calldata second)
        external;

    /// @notice The only address that admits, removes, reclassifies and rekeys members.
    function registrar() external view returns (address);

    /// @notice Everybody who approves, in no order.
    function officers() external view returns (address[] memory);

    /// @notice Whether `account` approves.
    function isOfficer(address account) external view returns (bool);

    /// @notice The most votes a member may come to have by delegation, the own included. Fixed at construction.
    function delegationCap() external view returns (uint256);

    /// @notice Seconds from a change's announcement until it can be carried out. Fixed at construction.
    function officeDelay() external view returns (uint48);

    /// @notice How many changes were announced: the number of the last.
    function lastChange() external view returns (uint256);

    /// @notice The announced change of that number; all zero once it is carried out or withdrawn.
    function announcedChange(uint256 change) external view returns (Change memory);

    /// @notice The number of members.
    function totalSupply() external view returns (uint256);

    /// @notice Whether `member` holds a token now. False for the zero address.
    function isMember(address member) external view returns (bool);

    /// @notice The token `member` holds now, or 0.
    function tokenOf(address member) external view returns (uint256 tokenId);

    /// @notice The seat of `member` now; all zero if it has none.
    function seatOf(address member) external view returns (Seat memory);

    /// @notice How many tokens `member` was ever given, by admission or as the new address of a rekey.
    function admissionsOf(address member) external view returns (uint256);

    /// @notice How many tokens were ever issued: the last one's number.
    function lastTokenId() external view returns (uint256);

    /// @notice The class of `member` at the end of the second `time`; `None` if it was no member.
    function classAt(address member, uint48 time) external view returns (Class);

    /// @notice How many members were of `class` at the end of the second `time`.
    function census(Class class, uint48 time) external view returns (uint256);

    /// @notice The seats of tokens `firstTokenId` to `firstTokenId + count - 1` at the end of the second `time`, in
    /// order; all zero where there was no such token then.
    /// @dev The whole electorate, asked for in pages: a seat takes about 15,000 gas.
    function roll(uint256 firstTokenId, uint256 count, uint48 time) external view returns (Seat[] memory);

    /// @notice What each of the accounts was at the end of the second `time`.
    /// @dev What adds the roll up, asked for by address and not by token.
    function standings(address[] calldata accounts, uint48 time) external view returns (Standing[] memory);

    /// @notice Whom `account` had vote at the end of the second `timepoint`; zero for who was no member.
    function getPastDelegate(address account, uint256 timepoint) external view returns (address);
}
